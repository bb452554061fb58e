"""Distances between the boundaries of a true and a predicted structure: HD95 and surface Dice.

Definitions are MONAI's (`compute_hausdorff_distance(percentile=95)`, `compute_surface_dice(use_subvoxels=False)`): a
boundary pixel is a pixel of the mask with a direct neighbour (up, down, left, right) outside the mask or outside the
image; HD95 is the larger of the two directed 95th percentiles. MedPy's `hd95` pools both directions before it takes
the percentile, which gives another number.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Distances = NDArray[np.float64]

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


class BoundaryScores(NamedTuple):
    """HD95 in the unit of the spacing, lower is better; surface Dice from 0 to 1."""

    hd95: float
    surface_dice: float


def boundary_scores(prediction: Mask, truth: Mask, *, tolerance: float, spacing: float = 1.0) -> BoundaryScores:
    """Compare the boundaries of two masks.

    Neither has a pixel: nothing to find and nothing claimed, HD95 0 and surface Dice 1. One of them has none (missed,
    or a false alarm): HD95 is the diagonal of the image and surface Dice 0, so that no failure drops out of a mean.

    Args:
        prediction: (H, W).
        truth: (H, W).
        tolerance: Distance up to which boundaries agree, in the unit of `spacing`.
        spacing: Side of a pixel, e.g. in µm; 1 measures in pixels.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"Expected masks of one size, but got {prediction.shape} and {truth.shape}.")
    found, present = bool(prediction.any()), bool(truth.any())
    if not found or not present:
        diagonal = float(np.hypot(*truth.shape)) * spacing
        return score_without_pair(found=found, present=present, diagonal=diagonal)
    there, back = (distances * spacing for distances in surface_distances(prediction, truth))
    return compare_distances(there, back, tolerance)


def score_without_pair(*, found: bool, present: bool, diagonal: float) -> BoundaryScores:
    """What is scored where there are no two boundaries to compare.

    Args:
        found: Whether the structure was predicted.
        present: Whether it is there.
        diagonal: Of the image or volume, in the unit of HD95.
    """
    return BoundaryScores(diagonal, 0.0) if found or present else BoundaryScores(0.0, 1.0)


def compare_distances(there: Distances, back: Distances, tolerance: float) -> BoundaryScores:
    """HD95 and surface Dice from the distances of all boundary pixels, from either boundary to the other.

    Args:
        there: From the prediction, at least one.
        back: From the truth, at least one.
        tolerance: In the unit of the distances.
    """
    hd95 = max(float(np.percentile(there, 95)), float(np.percentile(back, 95)))
    within = int(np.count_nonzero(there <= tolerance) + np.count_nonzero(back <= tolerance))
    return BoundaryScores(hd95, within / (len(there) + len(back)))


def surface_distances(prediction: Mask, truth: Mask) -> tuple[Distances, Distances]:
    """Distances in pixels from each boundary pixel of one mask to the nearest boundary pixel of the other.

    Args:
        prediction: (H, W) with at least one pixel.
        truth: (H, W) with at least one pixel.

    Returns:
        From prediction to truth, and from truth to prediction.
    """
    window = _bounding_box(prediction | truth)
    edges = [_boundary(mask[window]) for mask in (prediction, truth)]
    there, back = (_distance_to(edge) for edge in reversed(edges))
    return there[edges[0]], back[edges[1]]


def _bounding_box(mask: Mask) -> tuple[slice, slice]:
    """The smallest window with all pixels of a mask: nothing outside it takes part in a distance."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _boundary(mask: Mask) -> Mask:
    pixels = np.ascontiguousarray(mask, np.uint8)
    inner = cv2.erode(pixels, _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray((pixels - inner).astype(bool))


def _distance_to(edge: Mask) -> Distances:
    """Euclidean distance (H, W) of each pixel to the nearest pixel of an edge."""
    outside = np.ascontiguousarray(~edge, np.uint8)
    squared = np.square(cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float64))
    # Squares of distances between pixels are whole numbers; OpenCV computes in float32.
    return np.asarray(np.sqrt(squared.round()))

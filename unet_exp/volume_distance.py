"""HD95 and surface Dice of a structure in a volume, in mm.

The definitions are those of `unet_exp.distance` with one more axis: a surface voxel is a voxel of the structure with a
direct neighbour (six of them) outside it or outside the volume; distances are between centres of voxels. Masks are
read slice by slice and only surface voxels are kept, so that memory grows with the surface rather than the volume.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from unet_exp.data._voxel_spacing import Spacing
from unet_exp.distance import BoundaryScores, Distances, Mask, compare_distances, score_without_pair

Points = NDArray[np.int32]

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))

# Z slices, H x W pixels of a slice, n surface voxels.


def volume_boundary_scores(
    prediction: Iterable[Mask],
    truth: Iterable[Mask],
    *,
    shape: tuple[int, int, int],
    tolerance: float,
    spacing: Spacing,
) -> BoundaryScores:
    """Compare the surfaces of a predicted and a true structure.

    Neither is there: HD95 0 and surface Dice 1. One of them is not: HD95 is the diagonal of the volume in mm and
    surface Dice 0.

    Args:
        prediction: Z slices (H, W), from one end to the other.
        truth: Z slices (H, W).
        shape: (Z, H, W).
        tolerance: Distance in mm up to which surfaces agree.
        spacing: Millimetres between slices, rows and columns.
    """
    found, present = surface_voxels(prediction), surface_voxels(truth)
    if not len(found) or not len(present):
        diagonal = float(np.linalg.norm(np.multiply(shape, spacing)))
        return score_without_pair(found=len(found) > 0, present=len(present) > 0, diagonal=diagonal)
    there, back = (_distances(*pair, np.array(spacing)) for pair in ((found, present), (present, found)))
    return compare_distances(there, back, tolerance)


def surface_voxels(slices: Iterable[Mask]) -> Points:
    """Indices (n, 3) of the surface voxels of a structure, given as Z masks (H, W)."""
    edges = [np.zeros((0, 3), np.int32)]
    for number, (before, here, after) in enumerate(_with_neighbours(slices)):
        inner = before & here & after & _inside_slice(here)
        rows, columns = np.nonzero(here & ~inner)
        edges.append(np.stack([np.full_like(rows, number), rows, columns], axis=1).astype(np.int32))
    return np.concatenate(edges)


def _with_neighbours(slices: Iterable[Mask]) -> Iterator[tuple[Mask, Mask, Mask]]:
    """Each slice between its neighbours; nothing lies outside the volume."""
    before = here = None
    for after in slices:
        if here is not None:
            yield np.zeros_like(here) if before is None else before, here, after
        before, here = here, after
    if here is not None:
        yield np.zeros_like(here) if before is None else before, here, np.zeros_like(here)


def _inside_slice(mask: Mask) -> Mask:
    pixels = np.ascontiguousarray(mask, np.uint8)
    return np.asarray(cv2.erode(pixels, _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0).astype(bool))


def _distances(points: Points, others: Points, spacing: NDArray[np.float64]) -> Distances:
    """From each point to the nearest of the others, in mm, (n,)."""
    tree = cKDTree(others * spacing, compact_nodes=False, balanced_tree=False)
    _, nearest = tree.query(points * spacing)
    # Again from whole steps between voxels: differences of rounded positions would miss a tolerance by a hair.
    return np.asarray(np.linalg.norm((points - others[nearest]) * spacing, axis=1))

"""The eight symmetries of the square."""

from typing import Any

import albumentations
import cv2
import numpy as np

from unet_exp.augmentation._base import Params, Pixels
from unet_exp.bounds import Probability

_SHAPE_KEEPING = {"r90": "e", "r270": "r180", "t": "h", "hvt": "v"}
"""What an image that is not square gets instead of a quarter turn or a diagonal mirror."""


class SquareSymmetry(albumentations.SquareSymmetry):  # type: ignore[misc]
    """Applies one of the eight rotations and mirrorings of a square; each is equally likely.

    Draws and results are those of `albumentations.SquareSymmetry`, bit for bit, several times faster: OpenCV
    reads the crop where it lies, without a copy. A sample that is not square gets one of the four symmetries
    that keep its shape, so that samples can be stacked.

    Args:
        p: Share of the samples that are changed.
    """

    def __init__(self, p: Probability = 1.0) -> None:
        super().__init__(p=p)

    def apply_with_params(self, params: Params, *args: Any, **data: Any) -> dict[str, Any]:  # noqa: ARG002
        """Apply one symmetry to every image and mask of a sample."""
        # albumentations would first copy each view into memory of its own.
        return {
            key: value if value is None or key not in self._key2func else self._key2func[key](value, **params)
            for key, value in data.items()
        }

    def apply(self, img: Pixels, group_element: str, **params: Any) -> Pixels:
        """Apply one element of the group: `e`, `r90`, `r180`, `r270`, `v`, `hvt`, `h` or `t`.

        Args:
            img: (H, W) or (H, W, C).
            group_element: Name of the element in albumentations.
            params: `shape`, the shape of the sample's image.
        """
        height, width = params["shape"][:2]
        element = str(group_element)
        element = element if height == width else _SHAPE_KEEPING.get(element, element)
        if img.ndim == 3 and img.shape[2] != 3:
            # OpenCV drops the axis of a single channel and does not transpose five.
            return np.ascontiguousarray(super().apply(img, element))
        return transform(img, element)


def transform(image: Pixels, element: str) -> Pixels:
    """Apply an element of the group to a contiguous array or a crop of one; the result is contiguous."""
    match element:
        case "e":
            return np.ascontiguousarray(image)
        case "r180":
            return np.asarray(cv2.flip(image, -1), np.uint8)
        case "h":
            return np.asarray(cv2.flip(image, 1), np.uint8)
        case "v":
            return np.asarray(cv2.flip(image, 0), np.uint8)
        case "t":
            return _transpose(image)
        case "r90":
            return np.asarray(cv2.flip(_transpose(image), 0), np.uint8)
        case "r270":
            return _transpose(cv2.flip(image, 0))
        case _:
            return np.asarray(cv2.flip(_transpose(cv2.flip(image, 0)), 0), np.uint8)


def _transpose(image: Any) -> Pixels:
    """Mirror at the main diagonal; a crop is copied first, since its columns lie too far apart for the cache."""
    return np.asarray(cv2.transpose(np.ascontiguousarray(image)), np.uint8)

"""What the TIFF files share: tiles of memory maps, and how large a pixel is."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_exp.prediction.result import Prediction

TILE = 512


def tiles(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Tiles of an array (..., H, W) in the order that TIFF wants them, those at the right and bottom cut off."""
    for plane in array.reshape(-1, *array.shape[-2:]):
        for top in range(0, plane.shape[0], TILE):
            for left in range(0, plane.shape[1], TILE):
                yield np.ascontiguousarray(plane[top : top + TILE, left : left + TILE])


def pixel_size(prediction: Prediction) -> tuple[float, float] | None:
    """Height and width of a predicted pixel in micrometres, None if unknown."""
    if prediction.image.mpp is None:
        return None
    down, across = prediction.image.scale
    return prediction.image.mpp * down, prediction.image.mpp * across


def resolution(size: tuple[float, float] | None, downsampling: tuple[float, float] = (1, 1)) -> dict[str, Any]:
    """Arguments of `tifffile.TiffWriter.write` that say how many pixels there are per centimetre."""
    if size is None:
        return {}
    across, down = (1e4 / (size[axis] * downsampling[axis]) for axis in (1, 0))
    return {"resolution": (across, down), "resolutionunit": "CENTIMETER"}

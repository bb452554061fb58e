"""Class ids as a pyramidal OME-TIFF, which QuPath and Bio-Formats open over the slide."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from unet_exp.prediction.canvas import unnamed_array
from unet_exp.prediction.result import Prediction
from unet_exp.prediction.saving.areas import row_bands
from unet_exp.prediction.saving.complete_file import complete_file
from unet_exp.prediction.saving.tiff import TILE, pixel_size, resolution, tiles

_NAMESPACE = "unet_exp/classes"


def save_pyramid(prediction: Prediction, path: Path) -> None:
    """Write the class ids (H, W) uint8, each level half of the one before, until one is smaller than a tile.

    A pixel of a level has the class that most of its four pixels have. Levels are collected in unnamed files beside
    `path`, never in memory. The names of the classes stand in a map annotation.
    """
    levels = [prediction.labels]
    while max(levels[-1].shape) >= TILE:
        levels.append(_halve(levels[-1], path.parent))
    size = pixel_size(prediction)
    common: dict[str, Any] = {"tile": (TILE, TILE), "compression": "zlib", "photometric": "minisblack"}
    with complete_file(path) as file, tifffile.TiffWriter(file, bigtiff=True, ome=True) as writer:
        for number, level in enumerate(levels):
            reduction = (levels[0].shape[0] / level.shape[0], levels[0].shape[1] / level.shape[1])
            particular = {"subifds": len(levels) - 1, "metadata": _metadata(prediction, size)}
            writer.write(
                tiles(level),
                shape=level.shape,
                dtype=np.uint8,
                **(particular if number == 0 else {"subfiletype": 1}),
                **common,
                **resolution(size, reduction),
            )


def _metadata(prediction: Prediction, size: tuple[float, float] | None) -> dict[str, Any]:
    names = prediction.description.class_names
    metadata: dict[str, Any] = {
        "axes": "YX",
        "Name": prediction.image.path.name,
        "Channel": {"Name": ["class id"]},
        "MapAnnotation": {"Namespace": _NAMESPACE, **{str(number): name for number, name in enumerate(names)}},
    }
    if size is not None:
        metadata |= {"PhysicalSizeY": size[0], "PhysicalSizeYUnit": "µm"}
        metadata |= {"PhysicalSizeX": size[1], "PhysicalSizeXUnit": "µm"}
    return metadata


def _halve(labels: NDArray[np.uint8], folder: Path) -> NDArray[np.uint8]:
    """The map at half the size, rounded up, in an unnamed file of `folder`."""
    half = unnamed_array(folder, (-(-labels.shape[0] // 2), -(-labels.shape[1] // 2)), np.uint8)
    for band in row_bands(labels.shape, multiple=2):
        half[band.start // 2 : -(-band.stop // 2)] = most_frequent_of_four(labels[band])
    return half


def most_frequent_of_four(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The most frequent id of each square of 2 x 2; the upper left of the most frequent ones in a tie.

    Args:
        labels: Class ids (H, W); a last single row or column counts twice.

    Returns:
        (ceil(H / 2), ceil(W / 2)).
    """
    padded = np.pad(labels, [(0, side % 2) for side in labels.shape], mode="edge")
    first, second, third, fourth = (padded[row::2, column::2] for row in (0, 1) for column in (0, 1))
    # Of four, an id that appears twice is one of the most frequent.
    later = np.where((second == third) | (second == fourth), second, np.where(third == fourth, third, first))
    return np.where((first == second) | (first == third) | (first == fourth), first, later)

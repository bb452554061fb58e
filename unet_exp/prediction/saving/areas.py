"""How much of an image each class covers."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_exp.files import write_csv
from unet_exp.prediction.description import ModelDescription
from unet_exp.prediction.result import Prediction

_BAND_PIXELS = 1 << 22


def class_counts(labels: NDArray[np.uint8], num_classes: int) -> NDArray[np.int64]:
    """Pixels of each class (num_classes,), counted band by band since the map may be larger than the memory.

    Args:
        labels: Class ids (H, W).
        num_classes: Ids are smaller.
    """
    counts = np.zeros(num_classes, np.int64)
    for band in row_bands(labels.shape):
        counts += np.bincount(labels[band].ravel(), minlength=num_classes)
    return counts


def row_bands(shape: tuple[int, ...], pixels: int = _BAND_PIXELS, *, multiple: int = 1) -> Iterator[slice]:
    """Rows of an array (H, W) in bands of about so many pixels, their height a multiple of `multiple`."""
    height, width = shape
    rows = max(1, pixels // (max(1, width) * multiple)) * multiple
    for top in range(0, height, rows):
        yield slice(top, min(height, top + rows))


def area_rows(prediction: Prediction) -> list[dict[str, Any]]:
    """One row per class: image, class, pixels of the prediction, fraction of the image, area_mm2 (None if unknown)."""
    description = prediction.description
    counts = class_counts(prediction.labels, len(description.class_names))
    pixel_mm2 = None if prediction.mpp is None else (prediction.mpp / 1000) ** 2
    return [
        {
            "image": prediction.image.path.stem,
            "class": name,
            "pixels": int(count),
            "fraction": float(count / max(1, prediction.labels.size)),
            "area_mm2": None if pixel_mm2 is None else float(count * pixel_mm2),
        }
        for name, count in zip(description.class_names, counts, strict=True)
    ]


def volume_rows(
    name: str, description: ModelDescription, counts: Sequence[int] | NDArray[np.integer], voxel_mm3: float | None
) -> list[dict[str, Any]]:
    """One row per class: image, class, voxels, fraction of the volume, volume_ml (None if unknown).

    Args:
        name: Of the volume.
        description: What the classes are.
        counts: Voxels of each class.
        voxel_mm3: Volume of a voxel in cubic millimetres.
    """
    total = max(1, int(np.sum(counts)))
    return [
        {
            "image": name,
            "class": class_name,
            "voxels": int(count),
            "fraction": int(count) / total,
            "volume_ml": None if voxel_mm3 is None else int(count) * voxel_mm3 / 1000,
        }
        for class_name, count in zip(description.class_names, counts, strict=True)
    ]


def write_areas(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows of `area_rows` and `volume_rows`, of any number of images, as one table."""
    write_csv(path, rows)

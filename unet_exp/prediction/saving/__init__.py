"""What is written of a prediction: one function per kind of file, each writing one file that appears when complete."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from unet_exp.prediction.result import Prediction
from unet_exp.prediction.saving.areas import area_rows, volume_rows, write_areas
from unet_exp.prediction.saving.geojson import save_geojson
from unet_exp.prediction.saving.label_png import save_label_png
from unet_exp.prediction.saving.overlay import save_overlay
from unet_exp.prediction.saving.probabilities import save_probabilities
from unet_exp.prediction.saving.pyramid import save_pyramid

__all__ = ["SAVERS", "Saver", "area_rows", "volume_rows", "write_areas"]


@dataclass(frozen=True)
class Saver:
    """One kind of file.

    Args:
        save: Writes the file of a prediction; what the path held before stays until the new file is complete.
        suffix: What the file's name ends with, after the name of the image.
    """

    save: Callable[[Prediction, Path], None]
    suffix: str


SAVERS: Mapping[str, Saver] = {
    "labels": Saver(save_label_png, ".labels.png"),
    "overlay": Saver(save_overlay, ".overlay.jpg"),
    "probabilities": Saver(save_probabilities, ".probabilities.tif"),
    "pyramid": Saver(save_pyramid, ".ome.tif"),
    "geojson": Saver(save_geojson, ".geojson"),
}
"""By the name used in ``save=[...]``."""

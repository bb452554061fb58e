"""Probabilities as a tiled BigTIFF."""

from pathlib import Path
from xml.sax.saxutils import escape

import tifffile

from unet_exp.prediction.description import ModelDescription
from unet_exp.prediction.result import Prediction
from unet_exp.prediction.saving.complete_file import complete_file
from unet_exp.prediction.saving.tiff import TILE, pixel_size, resolution, tiles

_GDAL_METADATA = 42112
_FASTEST = 1  # of zlib's levels: noisy floats hardly become smaller with the others


def save_probabilities(prediction: Prediction, path: Path) -> None:
    """Write the probabilities as (C, H, W) float16, one plane per class in the order of the ids.

    With one output the only plane is class 1. The names stand in the description (JSON, "channels") and as names of
    the bands for GDAL, QGIS and rasterio; OME-TIFF and ImageJ's TIFF know no 16-bit floats.

    Raises:
        ValueError: If the prediction has no probabilities.
    """
    probabilities = prediction.probabilities
    if probabilities is None:
        raise ValueError("the prediction was made without probabilities")
    names = channel_names(prediction.description)
    with complete_file(path) as file, tifffile.TiffWriter(file, bigtiff=True) as writer:
        writer.write(
            tiles(probabilities),
            shape=probabilities.shape,
            dtype=probabilities.dtype,
            tile=(TILE, TILE),
            photometric="minisblack",
            planarconfig="separate" if len(names) > 1 else None,
            compression="zlib",
            compressionargs={"level": _FASTEST},
            metadata={"axes": "CYX", "channels": names},
            extratags=[(_GDAL_METADATA, "s", 0, _band_names(names), True)],
            software="unet_exp",
            **resolution(pixel_size(prediction)),
        )


def channel_names(description: ModelDescription) -> list[str]:
    """Names of the classes whose probabilities are known: all, or only class 1 with one output."""
    names = list(description.class_names)
    return names[1:2] if description.num_outputs == 1 else names


def _band_names(names: list[str]) -> bytes:
    """GDAL's XML, in which it escapes values twice; TIFF allows only ASCII in it."""
    items = (
        f'<Item name="DESCRIPTION" sample="{number}" role="description">{escape(escape(name))}</Item>'
        for number, name in enumerate(names)
    )
    return f"<GDALMetadata>{''.join(items)}</GDALMetadata>".encode("ascii", "xmlcharrefreplace")

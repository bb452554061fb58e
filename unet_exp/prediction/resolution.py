"""How large the pixels of a file are, and how large those of the network's grid."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import Image as PillowImage

from unet_exp.errors import DataError, UserError
from unet_exp.prediction.description import ModelDescription

LARGEST_MPP = 25.0
"""Micrometres per pixel beyond which a file says how large it is to be printed, not how large the object was: 25 µm
are 1016 dots per inch. Printers and screens ask for 72 to 600; slide scanners, and microscopes down to an objective of
0.5x, give less than 25 µm."""
_MOST_UNEQUAL = 1.05

_MICROMETRES_PER_INCH = 25400.0
_IN_MICROMETRES = {
    "pm": 1e-6,
    "Å": 1e-4,
    "nm": 1e-3,
    "µm": 1.0,  # the micro sign; below it the Greek letter
    "μm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "\\u00b5m": 1.0,  # as ImageJ writes it into ASCII
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "in": _MICROMETRES_PER_INCH,
    "inch": _MICROMETRES_PER_INCH,
}
_DESCRIPTION, _X_RESOLUTION, _Y_RESOLUTION = 270, 282, 283  # tags of TIFF

Mpp = tuple[float, float]
"""Micrometres per pixel, across and down."""


def picture_mpp(path: Path) -> float | None:
    """Micrometres per pixel that a picture file gives; None if it gives none, or those of a print.

    Read are PNG (pHYs), JPEG (JFIF or EXIF density), BMP, and TIFF: OME-XML, ImageJ, or resolution with its unit.

    Raises:
        DataError: If pixels are not square, or the file is no picture.
    """
    try:
        with PillowImage.open(path) as file:
            found = _tiff_mpp(file.tag_v2) if hasattr(file, "tag_v2") else None
            dots: tuple[float, float] | None = file.info.get("dpi")
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error}). Replace or remove the file.") from None
    if found is None and dots is not None and min(dots) > 0:
        found = _MICROMETRES_PER_INCH / float(dots[0]), _MICROMETRES_PER_INCH / float(dots[1])
    return _physical(found, path)


def slide_mpp(properties: Mapping[str, str], path: Path) -> float | None:
    """Micrometres per pixel of the finest level of a slide; None if it gives none, or those of a print.

    Args:
        properties: Those of OpenSlide.
        path: The file, for the message.

    Raises:
        DataError: If pixels are not square.
    """
    found = ome_mpp(properties.get("tiff.ImageDescription", ""))
    if found is None and "openslide.mpp-x" in properties and "openslide.mpp-y" in properties:
        found = float(properties["openslide.mpp-x"]), float(properties["openslide.mpp-y"])
    return _physical(found, path)


def _physical(found: Mpp | None, path: Path) -> float | None:
    if found is None or not all(0 < side <= LARGEST_MPP for side in found):
        return None
    if max(found) > _MOST_UNEQUAL * min(found):
        raise DataError(
            f"{path}: its pixels are not square, {found[0]:.4g} µm wide and {found[1]:.4g} µm high. Resample it to "
            "square pixels, or give input_mpp=<µm per pixel> if the file is wrong about it."
        )
    return (found[0] + found[1]) / 2


def _tiff_mpp(tags: Any) -> Mpp | None:
    """Micrometres per pixel in the description of a TIFF file, which is more than its resolution and unit."""
    description = _utf8(str(tags.get(_DESCRIPTION, "")))
    if not description.startswith("ImageJ="):
        return ome_mpp(description)
    lines = dict(line.partition("=")[::2] for line in description.splitlines())
    unit = _IN_MICROMETRES.get(lines.get("unit", "").strip().lower())
    per_unit = [float(tags.get(tag, 0)) for tag in (_X_RESOLUTION, _Y_RESOLUTION)]
    if unit is None or not all(math.isfinite(one) and one > 0 for one in per_unit):
        return None
    return unit / per_unit[0], unit / per_unit[1]


def _utf8(text: str) -> str:
    """Pillow takes the texts of TIFF files for Latin-1, which a µ in OME-XML is not."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def ome_mpp(description: str) -> Mpp | None:
    """Micrometres per pixel in OME-XML (https://docs.openmicroscopy.org/ome-model), whose unit is µm by default."""
    if "<OME" not in description:
        return None
    try:
        root = ElementTree.fromstring(description.encode())
    except ElementTree.ParseError:
        return None
    pixels = next((element for element in root.iter() if element.tag.endswith("}Pixels")), None)
    if pixels is None:
        return None
    sides = [_ome_length(pixels.attrib, f"PhysicalSize{axis}") for axis in "XY"]
    return None if sides[0] is None or sides[1] is None else (sides[0], sides[1])


def _ome_length(attributes: Mapping[str, str], name: str) -> float | None:
    unit = _IN_MICROMETRES.get(attributes.get(f"{name}Unit", "µm"))
    try:
        return None if unit is None else float(attributes[name]) * unit
    except (KeyError, ValueError):
        return None


def grid_size(size: tuple[int, int], mpp: float | None, description: ModelDescription, path: Path) -> tuple[int, int]:
    """Height and width of an image at the resolution of the network, as training computes it.

    Args:
        size: Height and width of the file.
        mpp: Micrometres per pixel of the file.
        description: What the network works at.
        path: The file, for the message.

    Raises:
        UserError: If that depends on the resolution of the file, and it is not known.
    """
    if description.mpp is None:
        return size
    if mpp is None:
        raise UserError(
            f"{path}: the size of its pixels is unknown, but {description.name} works at {description.mpp:g} µm per "
            "pixel. Give the image's own with input_mpp=<µm per pixel>."
        )
    scale = mpp / description.mpp
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def fitted_size(size: tuple[int, int], longest_side: int) -> tuple[int, int]:
    """Height and width of an image once it is no longer than so many pixels; never enlarged."""
    scale = min(1.0, longest_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))

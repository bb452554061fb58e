"""Outlines of the scored classes as GeoJSON (RFC 7946), as QuPath imports annotations."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from unet_exp.prediction.result import Prediction
from unet_exp.prediction.saving.block_outlines import Geometries, Outlines
from unet_exp.prediction.saving.complete_file import complete_file
from unet_exp.prediction.saving.outlines import outline_regions

_NAMESPACE = uuid.UUID("5ea4c6a2-6f0e-5d53-9a27-6f2c3b1e8d10")
_DECIMALS = 3
_AT_ONCE = 1024


def save_geojson(prediction: Prediction, path: Path) -> None:
    """Write one annotation per 4-connected region of each scored class, large ones first.

    Coordinates are pixels of the image file (x right, y down; "level 0" of a slide), measured from the upper left
    corner of its first pixel. Outlines are simplified by about a pixel of the prediction, neighbours keeping their
    common border. `area_um2` counts pixels of the prediction; it is absent where the size of a pixel is unknown.
    """
    outlines = outline_regions(prediction.labels, prediction.description.scored_classes)
    with complete_file(path) as file:
        _write(file, _features(prediction, outlines))


def _write(file: IO[bytes], features: Iterator[dict[str, Any]]) -> None:
    file.write(b'{"type": "FeatureCollection", "features": [')
    separator = b"\n"
    for feature in features:
        file.write(separator)
        file.write(json.dumps(feature, ensure_ascii=False, separators=(",", ":")).encode())
        separator = b",\n"
    file.write(b"\n]}\n")


def _features(prediction: Prediction, outlines: Outlines) -> Iterator[dict[str, Any]]:
    names, palette = prediction.description.class_names, prediction.description.palette
    numbers = dict.fromkeys(range(len(names)), 0)
    pixel_um2 = None if prediction.mpp is None else prediction.mpp**2
    for start in range(0, len(outlines.polygons), _AT_ONCE):
        placed = _placed(outlines.polygons[start : start + _AT_ONCE], prediction.image.scale)
        for index, polygon in enumerate(placed, start):
            one = int(outlines.classes[index])
            numbers[one] += 1
            properties: dict[str, Any] = {
                "objectType": "annotation",
                "classification": {"name": names[one], "color": [int(value) for value in palette[one]]},
                "isLocked": False,
            }
            if pixel_um2 is not None:
                properties["area_um2"] = round(float(outlines.pixels[index] * pixel_um2), 3)
            yield {
                "type": "Feature",
                "id": _identity(prediction.image.path.name, names[one], numbers[one]),
                "geometry": {"type": "Polygon", "coordinates": _coordinates(polygon)},
                "properties": properties,
            }


def _identity(image: str, name: str, number: int) -> str:
    """The same whenever the same image is predicted."""
    return str(uuid.uuid5(_NAMESPACE, json.dumps([image, name, number])))


def _placed(polygons: Geometries, scale: tuple[float, float]) -> Geometries:
    """Polygons in pixels of the file, rounded as far as they stay valid, outer rings counterclockwise."""
    factors = np.array(scale[::-1])
    decimals = _DECIMALS + max(0, int(np.ceil(-np.log10(factors.min()))))
    exact = shapely.transform(polygons, lambda xy: xy * factors)
    rounded = shapely.transform(exact, lambda xy: np.round(xy, decimals))
    placed = np.where(shapely.is_valid(rounded), rounded, exact)
    oriented: Geometries = shapely.orient_polygons(placed, exterior_cw=False)
    return oriented


def _coordinates(polygon: shapely.Polygon) -> list[Any]:
    return [_numbers(shapely.get_coordinates(ring)) for ring in (polygon.exterior, *polygon.interiors)]


def _numbers(points: NDArray[np.floating]) -> list[Any]:
    """Points as lists, whole numbers without a decimal point."""
    whole = points.astype(np.int64)
    numbers: list[Any] = (whole if (whole == points).all() else points).tolist()
    return numbers

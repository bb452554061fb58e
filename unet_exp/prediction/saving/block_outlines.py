"""Outlines of the regions of a class map that fits into memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import rasterio.features
import shapely
from numpy.typing import NDArray

Geometries = NDArray[np.object_]
"""shapely geometries (N,)."""

REST = -1
"""Id of what is not outlined."""
OUTSIDE = -2
"""Id beyond the edge of the map."""

_TOLERANCES = (1.0, 0.75)
"""Square roots of the areas (pixels) of corners that are cut off; the first one that is good enough is taken."""
_ENOUGH = 0.99
_THIN = 3.0
"""Regions of a mean width (pixels) below this keep their outline: nothing would remain of them."""


@dataclass(frozen=True)
class Outlines:
    """Regions, 4-connected, in pixel-edge coordinates: pixel (r, c) covers [c, c + 1] x [r, r + 1].

    Args:
        polygons: shapely polygons (N,), x right and y down.
        classes: Ids (N,).
        pixels: Pixels of each region (N,), which simplified outlines enclose only nearly.
    """

    polygons: Geometries
    classes: NDArray[np.int16]
    pixels: NDArray[np.int64]

    def select(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> "Outlines":
        """Some of them, or all in another order."""
        return Outlines(self.polygons[which], self.classes[which], self.pixels[which])

    @classmethod
    def join(cls, parts: list["Outlines"]) -> "Outlines":
        """All regions of several."""
        return cls(
            np.concatenate([np.empty(0, object), *(part.polygons for part in parts)]),
            np.concatenate([np.empty(0, np.int16), *(part.classes for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.pixels for part in parts)]),
        )


def outline_block(surrounded: NDArray[np.int16], *, simplify: bool = True) -> Outlines:
    """Outline the regions of a block.

    Neighbours have their common border vertex for vertex in common, also with those of the next block, since the edge
    of the block stays as it is. Simplified outlines, drawn again, have an intersection over union above 0.99 with the
    block in each class.

    Args:
        surrounded: Class ids (H + 2, W + 2) of the block and the pixels around it; `REST` where nothing is outlined,
            `OUTSIDE` beyond the map.
        simplify: Whether outlines may cut corners of pixels.
    """
    ids = surrounded[1:-1, 1:-1]
    exact = _exact(np.ascontiguousarray(ids), _junctions(surrounded))
    simplified = _simplified(ids, exact) if simplify else None
    polygons = exact.polygons if simplified is None else simplified
    return Outlines(polygons, exact.classes, exact.pixels).select(exact.classes != REST)


def _exact(ids: NDArray[np.int16], junctions: NDArray[np.bool_]) -> Outlines:
    """Regions along the edges of pixels, those of `REST` too, with a vertex at each junction."""
    found = list(rasterio.features.shapes(ids, connectivity=4))
    polygons = np.empty(len(found), object)
    polygons[:] = [shapely.Polygon(shape["coordinates"][0], shape["coordinates"][1:]) for shape, _ in found]
    pixels = np.rint(shapely.area(polygons)).astype(np.int64)
    classes = np.asarray([value for _, value in found], np.int16)
    return Outlines(_with_vertices(polygons, junctions), classes, pixels)


def _simplified(ids: NDArray[np.int16], exact: Outlines) -> Geometries | None:
    """The polygons of `exact` with fewer corners; None if that cannot be done well enough."""
    # Where thin regions are left out of the coverage it has a boundary, and boundaries stay as they are.
    thick = 2 * exact.pixels >= _THIN * shapely.length(exact.polygons)
    for tolerance in _TOLERANCES:
        polygons = exact.polygons.copy()
        polygons[thick] = shapely.coverage_simplify(polygons[thick], tolerance, simplify_boundary=False)
        if _good_enough(polygons, exact.classes, ids):
            return polygons
    return None


def _good_enough(polygons: Geometries, classes: NDArray[np.int16], ids: NDArray[np.int16]) -> bool:
    if not shapely.is_valid(polygons).all():
        return False
    outlined = classes != REST
    drawn = _draw(polygons[outlined], classes[outlined], ids.shape)
    return all(
        np.count_nonzero((ids == one) & (drawn == one)) > _ENOUGH * np.count_nonzero((ids == one) | (drawn == one))
        for one in np.unique(classes[outlined])
    )


def _draw(polygons: Geometries, values: NDArray[np.int16], shape: tuple[int, ...]) -> NDArray[np.int16]:
    """Pixels whose centres lie in a polygon get its value, the others `REST`."""
    if not len(polygons):
        return np.full(shape, REST, np.int16)
    drawn: NDArray[np.int16] = rasterio.features.rasterize(
        zip(polygons, values.tolist(), strict=True), shape, fill=REST, dtype="int16"
    )
    return drawn


def _junctions(surrounded: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Corners of pixels (H + 1, W + 1) where three borders or more meet, of ids (H + 2, W + 2)."""
    beside = surrounded[:, 1:] != surrounded[:, :-1]
    below = surrounded[1:] != surrounded[:-1]
    meeting = np.zeros((surrounded.shape[0] - 1, surrounded.shape[1] - 1), np.uint8)
    for borders in (beside[:-1], beside[1:], below[:, :-1], below[:, 1:]):
        meeting += borders
    return meeting >= 3


def _with_vertices(polygons: Geometries, corners: NDArray[np.bool_]) -> Geometries:
    """Polygons with a vertex wherever they pass one of the corners (H + 1, W + 1).

    Neighbours keep their border in common only if both have the same vertices, but GDAL makes none where a third region
    meets a straight outline.
    """
    rings, owners = shapely.get_rings(polygons, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    points = points.astype(np.int64)
    steps = np.zeros_like(points)
    steps[:-1] = np.where((ring[1:] == ring[:-1])[:, None], np.diff(points, axis=0), 0)
    lengths = np.maximum(np.abs(steps).sum(1), 1)  # the last point of a ring stays alone
    origin = np.repeat(np.arange(len(points)), lengths)
    offset = np.arange(len(origin)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    walked = points[origin] + offset[:, None] * np.sign(steps)[origin]
    kept = (offset == 0) | corners[walked[:, 1], walked[:, 0]]
    walked_rings = shapely.linearrings(walked[kept].astype(float), indices=ring[origin[kept]])
    result: Geometries = shapely.polygons(walked_rings, indices=owners)
    return result


def blocks(shape: tuple[int, ...], side: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the blocks of a map (H, W)."""
    for top in range(0, shape[0], side):
        for left in range(0, shape[1], side):
            yield slice(top, min(shape[0], top + side)), slice(left, min(shape[1], left + side))

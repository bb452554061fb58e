"""Outlines of the regions of a class map of any size, block by block."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray

from unet_exp.prediction.saving.block_outlines import OUTSIDE, REST, Geometries, Outlines, blocks, outline_block

_BLOCK = 2048


@dataclass
class _Unfinished:
    """Pieces of regions that go on beyond their block.

    Args:
        pieces: Without the holes that lie inside a block: joining takes the longer the more there are.
        holes: Those holes, rings by piece.
    """

    pieces: list[Outlines] = field(default_factory=list)
    holes: list[list[Geometries]] = field(default_factory=list)


def outline_regions(
    labels: NDArray[np.uint8], classes: Sequence[int], *, block: int = _BLOCK, simplify: bool = True
) -> Outlines:
    """Outline the 4-connected regions of some classes; the memory holds one block and the outlines.

    Args:
        labels: Class ids (H, W).
        classes: Ids that are outlined.
        block: Side of the blocks in pixels.
        simplify: Whether outlines may cut corners of pixels, see `outline_block`.

    Returns:
        Large ones first.
    """
    lookup = np.full(256, REST, np.int16)
    lookup[list(classes)] = list(classes)
    finished: list[Outlines] = []
    unfinished = _Unfinished()
    for rows, columns in blocks(labels.shape, block):
        surrounded = _surrounded(labels, rows, columns, lookup)
        if (surrounded[1:-1, 1:-1] == REST).all():
            continue
        found = _moved(outline_block(surrounded, simplify=simplify), columns.start, rows.start)
        edges = _inner_edges(labels.shape, rows, columns)
        crossing = _touches(found.polygons, edges)
        finished.append(found.select(~crossing))
        _set_aside(unfinished, found.select(crossing), edges)
    return _largest_first(Outlines.join([*finished, *_joined(unfinished)]))


def _surrounded(labels: NDArray[np.uint8], rows: slice, columns: slice, lookup: NDArray[np.int16]) -> NDArray[np.int16]:
    """A block with the pixels around it."""
    wider = [slice(max(0, one.start - 1), one.stop + 1) for one in (rows, columns)]
    ids = lookup[labels[wider[0], wider[1]]]
    missing = [
        (int(one.start == 0), int(one.stop == side)) for one, side in zip((rows, columns), labels.shape, strict=True)
    ]
    return np.pad(ids, missing, constant_values=OUTSIDE)


def _moved(outlines: Outlines, x: int, y: int) -> Outlines:
    if not (x or y):
        return outlines
    shift = np.array([x, y], float)
    moved = shapely.transform(outlines.polygons, lambda points: points + shift)
    return Outlines(moved, outlines.classes, outlines.pixels)


def _inner_edges(shape: tuple[int, ...], rows: slice, columns: slice) -> NDArray[np.floating]:
    """Left, top, right and bottom of a block, NaN where the map ends there too."""
    return np.array(
        [
            columns.start or np.nan,
            rows.start or np.nan,
            columns.stop if columns.stop < shape[1] else np.nan,
            rows.stop if rows.stop < shape[0] else np.nan,
        ]
    )


def _touches(geometries: Geometries, edges: NDArray[np.floating]) -> NDArray[np.bool_]:
    touching: NDArray[np.bool_] = (shapely.bounds(geometries).reshape(-1, 4) == edges).any(1)
    return touching


def _set_aside(unfinished: _Unfinished, outlines: Outlines, edges: NDArray[np.floating]) -> None:
    """Keep pieces, and apart from them the holes that end inside the block."""
    pieces = np.empty(len(outlines.polygons), object)
    for number, polygon in enumerate(outlines.polygons):
        holes = np.empty(len(polygon.interiors), object)
        holes[:] = polygon.interiors
        open_ = _touches(holes, edges)
        pieces[number] = shapely.Polygon(polygon.exterior, list(holes[open_]))
        unfinished.holes.append(list(holes[~open_]))
    unfinished.pieces.append(Outlines(pieces, outlines.classes, outlines.pixels))


def _joined(unfinished: _Unfinished) -> list[Outlines]:
    """Regions put together from their pieces, class by class."""
    pieces = Outlines.join(unfinished.pieces)
    joined = []
    for one in np.unique(pieces.classes):
        members = np.flatnonzero(pieces.classes == one)
        regions = np.atleast_1d(shapely.get_parts(shapely.union_all(pieces.polygons[members])))
        inside = shapely.point_on_surface(pieces.polygons[members])
        member, region = shapely.STRtree(regions).query(inside, predicate="within")
        pixels = np.bincount(region, pieces.pixels[members[member]], minlength=len(regions))
        holes: dict[int, list[Geometries]] = {}
        for number, owner in zip(members[member], region, strict=True):
            if unfinished.holes[number]:
                holes.setdefault(int(owner), []).extend(unfinished.holes[number])
        for owner, rings in holes.items():
            regions[owner] = shapely.Polygon(regions[owner].exterior, [*regions[owner].interiors, *rings])
        joined.append(Outlines(regions, np.full(len(regions), one, np.int16), np.rint(pixels).astype(np.int64)))
    return joined


def _largest_first(outlines: Outlines) -> Outlines:
    """The order depends on the regions alone, not on how they were found."""
    left, top, right, bottom = shapely.bounds(outlines.polygons).reshape(-1, 4).T
    return outlines.select(np.lexsort((right, bottom, left, top, outlines.classes, -outlines.pixels)))

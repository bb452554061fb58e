"""Nuclei, fibres and vacuoles of the demo tissue, as amounts of the two dyes.

Colour says little about the tissue here, as in real sections: the same dyes, in overlapping amounts, colour
every class, and only shape, density and arrangement of nuclei and fibres tell the classes apart.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unet_exp.data._demo_common import (
    BoolArray,
    FloatArray,
    Shape,
    inside,
    jittered_points,
    nearest,
    pixel_grid,
    pixel_list,
    ramp,
    smooth_noise,
)
from unet_exp.data._demo_layout import Code, Layout

Points = NDArray[np.float64]
Values = NDArray[np.float64]
Range = tuple[float, float]


@dataclass(frozen=True)
class Cells:
    """Nuclei (and red blood cells), one row each.

    Args:
        points: Position (y, x).
        length: Half of the long axis in pixels.
        width: Half of the short axis in pixels.
        angle: Direction of the long axis.
        ink: Haematoxylin of the rim.
        pale: How much less of it lies inside: 0 dense, 1 empty.
        eosin: Eosin in the cell's body.
    """

    points: Points
    length: Values
    width: Values
    angle: Values
    ink: Values
    pale: Values
    eosin: Values

    def __add__(self, other: Self) -> Self:
        """Put two populations together."""
        parts = (np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self))
        return type(self)(*parts)


@dataclass(frozen=True)
class Kind:
    """The range of looks of one population of cells.

    Args:
        spacing: Distance between neighbours in pixels.
        length: Half of the long axis.
        slender: Length over width.
        ink: Haematoxylin.
        pale: Emptiness of the nucleus.
        eosin: Eosin of the cell's body.
    """

    spacing: float
    length: Range
    slender: Range
    ink: Range
    pale: Range = (0.0, 0.2)
    eosin: float = 0.0


TUMOR = Kind(13.0, (4.0, 6.6), (1.0, 1.5), (0.65, 1.25), (0.1, 0.75))
DCIS = Kind(10.5, (3.7, 4.9), (1.0, 1.4), (0.8, 1.3), (0.1, 0.5))
FIBROBLAST = Kind(17.0, (4.5, 7.5), (3.0, 4.5), (0.65, 1.2))
LYMPHOCYTE = Kind(7.4, (2.4, 3.1), (1.0, 1.15), (0.85, 1.45))
PLASMA_CELL = Kind(8.8, (2.6, 3.3), (1.0, 1.3), (0.8, 1.35), eosin=0.1)
EOSINOPHIL = Kind(8.0, (2.4, 3.2), (1.0, 1.5), (0.8, 1.3), eosin=0.25)
GHOST = Kind(12.0, (3.0, 5.5), (1.0, 1.6), (0.1, 0.3), (0.5, 1.0))
DEBRIS = Kind(7.5, (0.9, 2.0), (1.0, 1.8), (0.6, 1.4))
RED_CELL = Kind(5.6, (2.5, 3.0), (1.0, 1.2), (0.0, 0.05), eosin=0.8)


def sow(rng: np.random.Generator, area: BoolArray, kind: Kind, share: float = 1.0) -> Cells:
    """Fill an area with cells of one kind, of which `share` are kept."""
    points = jittered_points(rng, (area.shape[0], area.shape[1]), kind.spacing)
    points = points[inside(points, area) & (rng.random(len(points)) < share)]
    return describe(rng, points, kind, rng.uniform(0, np.pi, len(points)))


def describe(rng: np.random.Generator, points: Points, kind: Kind, angle: Values) -> Cells:
    """Draw a look for the cell at every point."""
    count = len(points)
    length = rng.uniform(*kind.length, count)
    width = length / rng.uniform(*kind.slender, count)
    ink, pale = rng.uniform(*kind.ink, count), rng.uniform(*kind.pale, count)
    return Cells(points, length, width, angle, ink, pale, np.full(count, kind.eosin))


def stroma_direction(rng: np.random.Generator, shape: Shape) -> tuple[FloatArray, FloatArray]:
    """Return a field whose level lines the fibres follow, and the angle of those lines."""
    ys, xs = pixel_grid(shape)
    angle = rng.uniform(0, np.pi)
    level = np.cos(angle) * xs + np.sin(angle) * ys
    level = level + 26 * smooth_noise(rng, shape, 90) + 3.0 * smooth_noise(rng, shape, 24)
    along_y, along_x = np.gradient(level)
    return level.astype(np.float32), np.arctan2(along_x, -along_y).astype(np.float32)


def fibres(rng: np.random.Generator, level: FloatArray) -> FloatArray:
    """Draw wavy fibres and thicker bundles along the level lines, zero mean."""
    level = level - level.min() + 0.8 * smooth_noise(rng, (level.shape[0], level.shape[1]), 8)
    count = int(level.max()) + 8
    fine = ndimage.gaussian_filter1d(rng.standard_normal(count), 1.0)
    bundle = ndimage.gaussian_filter1d(rng.standard_normal(count), 4.0)
    profile = fine / fine.std() + bundle / bundle.std()
    strength = 1 + 0.35 * smooth_noise(rng, (level.shape[0], level.shape[1]), 35)
    return np.asarray(np.interp(level, np.arange(count), profile) * strength, np.float32)


def fibroblasts(rng: np.random.Generator, area: BoolArray, direction: FloatArray, share: float) -> Cells:
    """Sow spindle-shaped nuclei that lie along the fibres."""
    cells = sow(rng, area, FIBROBLAST, share)
    rows, columns = np.rint(cells.points).astype(np.intp).T
    angle = direction[rows, columns] + rng.normal(0, 0.2, len(rows))
    return Cells(cells.points, cells.length, cells.width, angle, cells.ink, cells.pale, cells.eosin)


def lining(rng: np.random.Generator, layout: Layout, number: int, depth: float, step: float, standing: bool) -> Cells:
    """Line a disc with nuclei, `depth` pixels inside its border, standing across it or lying along it."""
    disc = layout.discs[number]
    radius = max(disc.radius - depth, 2.0)
    count = max(int(2 * np.pi * radius / step), 5)
    turn: Values = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(-0.25, 0.25, count) * step / radius
    reach: Values = radius + rng.normal(0, 0.7, count)
    along, across = reach * np.cos(turn), reach * np.sin(turn) * disc.flattening
    cos, sin = np.cos(disc.turn), np.sin(disc.turn)
    points = np.array(disc.centre) + np.stack([sin * along + cos * across, cos * along - sin * across], axis=1)
    outwards = turn + disc.turn
    kind = Kind(step, (3.4, 4.6), (1.4, 1.9) if standing else (2.6, 3.6), (0.75, 1.2), (0.0, 0.4))
    keep = inside(points, layout.disc_index == number)
    return describe(rng, points[keep], kind, (outwards if standing else outwards + np.pi / 2)[keep])


def draw_cells(rng: np.random.Generator, shape: Shape, cells: Cells) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rasterise cells.

    Returns:
        Haematoxylin, eosin, and the distance to the middle between the two nearest cells, which is 0 where
        the membrane between two cells lies.
    """
    pixels = pixel_list(shape)
    distance, owner = nearest(cells.points, pixels, 3, reach=float(cells.length.max()) + 6)
    crooked = 1 + 0.10 * smooth_noise(rng, shape, 4).ravel()
    haematoxylin = np.zeros(len(pixels), np.float32)
    eosin = np.zeros(len(pixels), np.float32)
    for column in range(owner.shape[1]):
        near = np.flatnonzero(owner[:, column] < len(cells.points))
        who = owner[near, column]
        y, x = (pixels[near] - cells.points[who]).T
        cos, sin = np.cos(cells.angle[who]), np.sin(cells.angle[who])
        radius = np.hypot((cos * x + sin * y) / cells.length[who], (cos * y - sin * x) / cells.width[who])
        radius *= crooked[near]
        body = np.clip((1 - radius) * cells.width[who] + 0.5, 0, 1)
        hollow = cells.pale[who] * np.clip(1.25 - 1.5 * radius, 0, 1)
        ink = body * cells.ink[who] * (1 - 0.8 * hollow)
        haematoxylin[near] = np.maximum(haematoxylin[near], ink)
        eosin[near] = np.maximum(eosin[near], body * cells.eosin[who])
    gap = np.minimum(distance[:, 1], 99.0) - np.minimum(distance[:, 0], 98.0)
    return haematoxylin.reshape(shape), eosin.reshape(shape), gap.reshape(shape).astype(np.float32)


def vacuoles(rng: np.random.Generator, area: BoolArray) -> FloatArray:
    """Return the walls between fat cells (1 on a wall, 0 in a vacuole), zero outside `area`."""
    shape = (area.shape[0], area.shape[1])
    walls = np.zeros(shape, np.float32)
    if not area.any():
        return walls
    centres = jittered_points(rng, shape, rng.uniform(21, 29), jitter=0.3)
    pixels = np.argwhere(area).astype(np.float64)
    bend = np.stack([smooth_noise(rng, shape, 18)[area], smooth_noise(rng, shape, 18)[area]], axis=1)
    distance, _ = nearest(centres, pixels + 1.5 * bend, 2)
    walls[area] = np.exp(-(((distance[:, 1] - distance[:, 0]) / 2.6) ** 2))
    border = cv2.distanceTransform(area.astype(np.uint8), cv2.DIST_L2, 3)
    return np.maximum(walls, area * ramp(border, 4.0, 1.0))


def holes(rng: np.random.Generator, area: BoolArray, scale: float, share: float) -> FloatArray:
    """Return clefts and gaps (1 where the glass shows) in about `share` of an area."""
    field = smooth_noise(rng, (area.shape[0], area.shape[1]), scale)
    if not area.any():
        return np.zeros_like(field)
    limit = float(np.quantile(field[area], 1 - share))
    return (area * ramp(field, limit - 0.1, limit + 0.15)).astype(np.float32)


def class_area(layout: Layout, *codes: Code) -> BoolArray:
    """Return where one of the codes lies."""
    return np.isin(layout.codes, codes)

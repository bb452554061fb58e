"""Where which tissue lies in a demo region of interest: codes of the mask and the geometry behind them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
from scipy import ndimage

from unet_exp.data._demo_common import (
    BoolArray,
    ByteArray,
    FloatArray,
    Shape,
    fractal_noise,
    pixel_grid,
    smooth_noise,
)


class Code(IntEnum):
    """The official BCSS codes that occur in the demo."""

    OUTSIDE = 0
    TUMOR = 1
    STROMA = 2
    LYMPHOCYTES = 3
    NECROSIS = 4
    BLOOD = 6
    EXCLUDE = 7
    FAT = 9
    PLASMA_CELLS = 10
    OTHER_IMMUNE = 11
    DUCT = 13
    VESSEL = 18
    ANGIOINVASION = 19
    DCIS = 20


# What else a region may hold; named twice is twice as likely.
_SOMETIMES = (Code.DUCT, Code.DUCT, Code.DCIS, Code.ANGIOINVASION, Code.BLOOD, Code.VESSEL)


@dataclass(frozen=True)
class Disc:
    """A round structure: duct, vessel, DCIS or tumour in a vessel.

    Args:
        code: What it is.
        centre: Position (y, x) in pixels.
        radius: Half of the long axis in pixels.
        turn: Direction of the long axis.
        flattening: Short over long axis.
    """

    code: Code
    centre: tuple[float, float]
    radius: float
    turn: float
    flattening: float


@dataclass(frozen=True)
class Layout:
    """The tissue of one region of interest.

    Args:
        codes: Code of every pixel (H, W), also outside the annotated polygon.
        discs: The round structures.
        disc_index: Index into `discs` of every pixel (H, W), 255 where there is none.
        depth: Distance in pixels to the outer border of the pixel's disc, 0 elsewhere (H, W).
    """

    codes: ByteArray
    discs: tuple[Disc, ...]
    disc_index: ByteArray
    depth: FloatArray

    @property
    def shape(self) -> Shape:
        """Height and width."""
        return self.codes.shape[0], self.codes.shape[1]


def _highest(score: FloatArray, area: BoolArray, share: float) -> BoolArray:
    """Choose the pixels of `area` with the highest score, `share` of the whole picture."""
    wanted = min(int(share * score.size), int(area.sum()))
    if wanted == 0:
        return np.zeros_like(area)
    values = score[area]
    threshold = np.partition(values, len(values) - wanted)[len(values) - wanted]
    return np.asarray(area & (score >= threshold), np.bool_)


def _regions(rng: np.random.Generator, shape: Shape) -> ByteArray:
    """Grow nests of tumour with dying centres, immune infiltrate at their border, and fat away from them."""
    codes = np.full(shape, Code.STROMA, np.uint8)
    everywhere = np.ones(shape, np.bool_)
    field = smooth_noise(rng, shape, 95) + 0.22 * fractal_noise(rng, shape, 30)
    tumor = _highest(field, everywhere, rng.uniform(0.33, 0.42))
    depth = cv2.distanceTransform(tumor.astype(np.uint8), cv2.DIST_L2, 3)
    necrosis = _highest(depth / 16 + 0.7 * smooth_noise(rng, shape, 45), tumor, rng.uniform(0.09, 0.13))
    away = cv2.distanceTransform((~tumor).astype(np.uint8), cv2.DIST_L2, 3)
    field = smooth_noise(rng, shape, 75) + 0.2 * fractal_noise(rng, shape, 24)
    inflammatory = _highest(field - 0.012 * away, ~tumor, rng.uniform(0.15, 0.2))
    field = smooth_noise(rng, shape, 85) + 0.01 * away
    fat = _highest(field, ~tumor & ~inflammatory, rng.uniform(0.05, 0.09))
    for code, area in (
        (Code.TUMOR, tumor),
        (Code.NECROSIS, necrosis),
        (Code.LYMPHOCYTES, inflammatory),
        (Code.FAT, fat),
    ):
        codes[area] = code
    return _without_crumbs(codes)


def _without_crumbs(codes: ByteArray, smallest: int = 900) -> ByteArray:
    """Round the borders and give pieces of fewer than `smallest` pixels to their neighbours."""
    present = np.unique(codes)
    votes = np.stack([cv2.GaussianBlur((codes == code).astype(np.float32), (0, 0), 3.5) for code in present])
    rounded = present[votes.argmax(axis=0)]
    crumbs = np.zeros(codes.shape, np.bool_)
    for code in present:
        pieces, _ = ndimage.label(rounded == code)
        crumbs |= (np.bincount(pieces.ravel()) < smallest)[pieces] & (pieces > 0)
    nearest = ndimage.distance_transform_edt(crumbs, return_distances=False, return_indices=True)
    return np.asarray(rounded[tuple(nearest)], np.uint8)


def _choose_discs(rng: np.random.Generator, codes: ByteArray, kinds: list[Code]) -> list[Disc]:
    """Put each structure where the stroma is wide enough for it."""
    free = (codes == Code.STROMA).astype(np.uint8)
    free[[0, -1], :] = free[:, [0, -1]] = 0
    discs = []
    for kind in kinds:
        room = cv2.distanceTransform(free, cv2.DIST_L2, 3)
        tempting = room + 6 * smooth_noise(rng, free.shape, 40) * (room > 20)
        y, x = np.unravel_index(int(tempting.argmax()), free.shape)
        radius = min(float(room[y, x]) + 4, rng.uniform(27, 42))
        if radius < 20:
            continue
        discs.append(Disc(kind, (float(y), float(x)), radius, rng.uniform(0, np.pi), rng.uniform(0.75, 1.0)))
        cv2.circle(free, (int(x), int(y)), int(radius) + 8, 0, -1)
    return discs


def _place_discs(rng: np.random.Generator, codes: ByteArray, discs: list[Disc]) -> Layout:
    """Draw the round structures, slightly elliptical and wavy, over the regions."""
    ys, xs = pixel_grid(codes.shape)
    codes = codes.copy()
    index = np.full(codes.shape, 255, np.uint8)
    depth = np.zeros(codes.shape, np.float32)
    wobble = smooth_noise(rng, codes.shape, 22)
    for number, disc in enumerate(discs):
        y, x = ys - disc.centre[0], xs - disc.centre[1]
        along = np.cos(disc.turn) * x + np.sin(disc.turn) * y
        across = (np.cos(disc.turn) * y - np.sin(disc.turn) * x) / disc.flattening
        here = disc.radius * (1 + 0.05 * wobble) - np.hypot(along, across)
        area = here > 0
        codes[area], index[area], depth[area] = disc.code, number, here[area]
    return Layout(codes, tuple(discs), index, depth)


def make_layout(rng: np.random.Generator, shape: Shape) -> Layout:
    """Compose the tissue of one region of interest; all five classes occur in every one."""
    kinds = [Code.DUCT, Code.VESSEL, Code.DCIS]
    kinds += [_SOMETIMES[choice] for choice in rng.choice(len(_SOMETIMES), 2)]
    codes = _regions(rng, shape)
    layout = _place_discs(rng, codes, _choose_discs(rng, codes, kinds))
    # Infiltrates differ in their cells from place to place; all of them belong to one class.
    pieces, count = ndimage.label(layout.codes == Code.LYMPHOCYTES)
    choices = [Code.LYMPHOCYTES, Code.PLASMA_CELLS, Code.OTHER_IMMUNE]
    cells = rng.choice(choices, size=count + 1, p=[0.6, 0.25, 0.15]).astype(np.uint8)
    layout.codes[pieces > 0] = cells[pieces[pieces > 0]]
    return layout


def annotated_area(rng: np.random.Generator, shape: Shape) -> BoolArray:
    """Return the polygon that the annotators looked at: a rotated, slightly irregular rectangle."""
    height, width = shape
    angle = np.deg2rad(rng.uniform(-9, 9))
    corners = np.array([(-1, -1), (0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0)], np.float64)
    corners *= np.array([width, height]) / 2 * rng.uniform(0.9, 0.97)
    corners += rng.uniform(-0.02, 0.02, corners.shape) * min(shape)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    polygon = corners @ turn + np.array([width, height]) / 2
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [np.rint(polygon).astype(np.int32)], 1)
    return canvas.astype(np.bool_)


def excluded_blob(rng: np.random.Generator, shape: Shape) -> BoolArray:
    """Return the place of a fold or a pen mark, which annotators exclude; empty in most images."""
    if rng.random() > 0.2:
        return np.zeros(shape, np.bool_)
    ys, xs = pixel_grid(shape)
    y, x = rng.uniform(0.2, 0.8, 2) * np.array(shape)
    angle = rng.uniform(0, np.pi)
    along = np.cos(angle) * (xs - x) + np.sin(angle) * (ys - y)
    across = np.cos(angle) * (ys - y) - np.sin(angle) * (xs - x)
    wavy = across + 5 * smooth_noise(rng, shape, 30)
    return np.asarray(np.hypot(along / 42, wavy / 9) < 1, np.bool_)

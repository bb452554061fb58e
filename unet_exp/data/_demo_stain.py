"""From tissue to picture: cells and fibres of each class, then the stain and the camera of an institution."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from unet_exp.data import _demo_cells as cell
from unet_exp.data._demo_common import BoolArray, FloatArray, pixel_grid, ramp, smooth_noise
from unet_exp.data._demo_layout import Code, Layout


class Stain(NamedTuple):
    """How an institution's sections look.

    Args:
        blue: Shift of haematoxylin from violet (-1) to blue (1).
        red: Shift of eosin from purple (-1) to orange (1).
        haematoxylin: Strength of the blue dye.
        eosin: Strength of the red dye.
        light: Brightness of the empty slide.
        blur: Deviation of the optics' point spread in pixels.
    """

    blue: float
    red: float
    haematoxylin: float
    eosin: float
    light: float
    blur: float


# Fixed, not drawn: the strangest stains are shared out evenly, so no test institution lies far outside.
STAINS: dict[str, Stain] = {
    "A2": Stain(0.0, 0.0, 1.00, 1.00, 0.95, 0.55),
    "AR": Stain(0.6, -0.6, 1.30, 0.85, 0.93, 0.60),
    "D8": Stain(-0.7, 0.5, 0.80, 1.30, 0.97, 0.70),
    "A7": Stain(-0.3, -0.8, 0.75, 0.75, 0.96, 0.80),
    "AO": Stain(0.8, 0.8, 1.15, 0.65, 0.92, 0.50),
    "AN": Stain(0.2, -0.2, 1.40, 1.35, 0.96, 0.65),
    "BH": Stain(0.4, 0.3, 0.90, 1.15, 0.94, 0.60),
    "C8": Stain(-0.5, -0.3, 1.20, 1.00, 0.95, 0.75),
    "A8": Stain(0.7, -0.1, 0.85, 0.80, 0.92, 0.55),
    "A1": Stain(-0.2, 0.7, 1.10, 0.90, 0.97, 0.65),
    "E9": Stain(0.1, -0.5, 1.30, 1.20, 0.93, 0.60),
    "OL": Stain(-0.4, 0.6, 1.25, 0.80, 0.94, 0.60),
    "LL": Stain(0.9, -0.4, 0.90, 1.10, 0.96, 0.70),
    "E2": Stain(-0.6, -0.6, 0.95, 1.25, 0.92, 0.55),
    "EW": Stain(0.3, 0.9, 0.75, 0.95, 0.97, 0.60),
    "GM": Stain(0.5, 0.1, 1.35, 1.10, 0.93, 0.75),
    "S3": Stain(-0.1, -0.9, 1.10, 0.70, 0.95, 0.65),
}


def _sow_cells(rng: np.random.Generator, layout: Layout, direction: FloatArray) -> cell.Cells:
    """Populate every class with its cells."""
    area = cell.class_area
    stroma = area(layout, Code.STROMA, Code.VESSEL, Code.BLOOD)
    cells = cell.fibroblasts(rng, stroma & (layout.depth < 8), direction, rng.uniform(0.55, 0.9))
    cells += cell.sow(rng, area(layout, Code.STROMA), cell.LYMPHOCYTE, 0.015)
    cells += cell.sow(rng, area(layout, Code.TUMOR, Code.ANGIOINVASION) & _nest(layout), cell.TUMOR, 0.97)
    cells += cell.sow(rng, area(layout, Code.DCIS) & (layout.depth > 6), cell.DCIS)
    cells += cell.sow(rng, area(layout, Code.LYMPHOCYTES), cell.LYMPHOCYTE, 0.92)
    cells += cell.sow(rng, area(layout, Code.PLASMA_CELLS), cell.PLASMA_CELL, 0.92)
    cells += cell.sow(rng, area(layout, Code.OTHER_IMMUNE), cell.EOSINOPHIL, 0.9)
    necrosis = area(layout, Code.NECROSIS)
    cells += cell.sow(rng, necrosis, cell.GHOST, 0.6)
    cells += cell.sow(rng, necrosis, cell.DEBRIS, rng.uniform(0.35, 0.65))
    cells += cell.sow(rng, area(layout, Code.FAT), cell.FIBROBLAST, 0.08)
    cells += cell.sow(rng, area(layout, Code.BLOOD) | _lumen(layout, Code.VESSEL, 8), cell.RED_CELL, 0.9)
    for number, disc in enumerate(layout.discs):
        if disc.code in (Code.VESSEL, Code.ANGIOINVASION, Code.DCIS):
            cells += cell.lining(rng, layout, number, 2.5, 8.0, standing=False)
        elif disc.code == Code.DUCT:
            cells += cell.lining(rng, layout, number, 3.0, 9.0, standing=False)
            cells += cell.lining(rng, layout, number, 9.5, 5.6, standing=True)
    return cells


def _nest(layout: Layout) -> BoolArray:
    """Return all tumour but the cleft that surrounds it in a vessel."""
    return np.asarray((layout.codes != Code.ANGIOINVASION) | (layout.depth > 9), np.bool_)


def _lumen(layout: Layout, code: Code, wall: float) -> BoolArray:
    """Return the inside of the hollow structures of one code."""
    return np.asarray((layout.codes == code) & (layout.depth > wall), np.bool_)


def _grounds(
    fibre: FloatArray, patch: FloatArray, grain: FloatArray, membrane: FloatArray, wall: FloatArray
) -> dict[Code, tuple[FloatArray | float, FloatArray | float]]:
    """Return haematoxylin and eosin between the nuclei of every tissue; the arguments are its textures."""
    tumor = (0.22 + 0.05 * patch + 0.03 * grain, 0.48 + 0.05 * patch + 0.16 * membrane)
    return {
        Code.STROMA: (0.08 + 0.02 * patch, 0.60 + 0.13 * fibre + 0.05 * patch),
        Code.TUMOR: tumor,
        Code.ANGIOINVASION: tumor,
        Code.DCIS: (0.26 + 0.05 * patch, 0.45 + 0.05 * patch + 0.1 * membrane),
        Code.LYMPHOCYTES: (0.12 + 0.04 * patch, 0.40 + 0.08 * fibre),
        Code.PLASMA_CELLS: (0.20 + 0.04 * patch, 0.50 + 0.10 * membrane),
        Code.OTHER_IMMUNE: (0.12 + 0.04 * patch, 0.55 + 0.12 * fibre),
        Code.NECROSIS: (0.16 + 0.06 * patch + 0.05 * grain, 0.58 + 0.10 * patch + 0.18 * grain),
        Code.FAT: (0.04 * wall, 0.02 + 0.45 * wall),
        Code.DUCT: (0.14 + 0.03 * patch, 0.50 + 0.05 * patch),
        Code.VESSEL: (0.10, 0.75 + 0.08 * grain),
        Code.BLOOD: (0.02, 0.28),
    }


def _dyes(rng: np.random.Generator, layout: Layout) -> tuple[FloatArray, FloatArray]:
    """Return the amounts of haematoxylin and eosin in every pixel."""
    shape = layout.shape
    level, direction = cell.stroma_direction(rng, shape)
    fibre = cell.fibres(rng, level)
    grain, patch = smooth_noise(rng, shape, 1.8), smooth_noise(rng, shape, 14)
    ink, body, gap = cell.draw_cells(rng, shape, _sow_cells(rng, layout, direction))
    wall = cell.vacuoles(rng, layout.codes == Code.FAT)
    grounds = _grounds(fibre, patch, grain, np.exp(-((gap / 1.4) ** 2)), wall)
    haematoxylin, eosin = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for code, (blue, red) in grounds.items():
        # A tissue's own shade varies from image to image, else its colour would give it away.
        tint = (0.0, 0.0) if code == Code.FAT else (rng.uniform(-0.06, 0.06), rng.uniform(-0.12, 0.12))
        area = layout.codes == code
        haematoxylin[area] = np.broadcast_to(blue, shape)[area] + tint[0]
        eosin[area] = np.broadcast_to(red, shape)[area] + tint[1]
    tissue = 1 - _glass(rng, layout, fibre)
    # A nucleus displaces the cytoplasm around it.
    cytoplasm = tissue * (1 - 0.4 * ramp(ink, 0.0, 0.6))
    return np.maximum(haematoxylin, 0) * tissue + ink, np.maximum(eosin, 0) * cytoplasm + body


def _glass(rng: np.random.Generator, layout: Layout, fibre: FloatArray) -> FloatArray:
    """Return where the slide shows through: lumens, clefts round tumour nests, tears in every tissue.

    White alone must not mean fat, therefore every class has some.
    """
    area = cell.class_area
    nest = area(layout, Code.TUMOR).astype(np.uint8)
    out, within = (cv2.distanceTransform(side, cv2.DIST_L2, 3) for side in (1 - nest, nest))
    retracted = smooth_noise(rng, layout.shape, 40) > 0.9
    cleft = retracted * ramp(np.maximum(out, within), 3.0, 1.5)
    torn = area(layout, Code.STROMA) * ramp(fibre, -2.2, -2.8)
    lumen = np.maximum.reduce(
        [
            _lumen(layout, Code.DUCT, 15) * ramp(layout.depth, 14.5, 16.0),
            _lumen(layout, Code.VESSEL, 8) * 0.75,
            (layout.codes == Code.ANGIOINVASION) * ramp(np.abs(layout.depth - 6.5), 3.0, 2.0),
        ]
    )
    gaps = np.maximum.reduce(
        [
            cell.holes(rng, area(layout, Code.TUMOR), 11, rng.uniform(0.0, 0.05)),
            cell.holes(rng, area(layout, Code.NECROSIS), 9, rng.uniform(0.02, 0.10)),
            cell.holes(rng, area(layout, Code.LYMPHOCYTES, Code.PLASMA_CELLS), 10, rng.uniform(0.0, 0.05)),
        ]
    )
    return np.asarray(np.maximum.reduce([cleft, torn, lumen, gaps]), np.float32)


def _unit(vector: tuple[float, float, float], towards: tuple[float, float, float], amount: float) -> FloatArray:
    """Turn an absorption vector towards (or, negative, away from) another one."""
    mixed = np.array(vector) + amount * (np.array(towards) - np.array(vector))
    return np.asarray(mixed / np.linalg.norm(mixed), np.float32)


def photograph(rng: np.random.Generator, stain: Stain, layout: Layout, folds: BoolArray) -> FloatArray:
    """Stain and photograph a region of interest.

    Args:
        rng: Source of randomness.
        stain: Look of the institution.
        layout: The tissue.
        folds: Where the section is folded: dark and out of focus.

    Returns:
        RGB image (H, W, 3) of range 0..1.
    """
    haematoxylin, eosin = _dyes(rng, layout)
    # Sections are neither evenly thick nor evenly dyed.
    thickness = 1 + 0.10 * smooth_noise(rng, layout.shape, 130)
    haematoxylin *= thickness * (1 + 0.08 * smooth_noise(rng, layout.shape, 100)) * stain.haematoxylin
    eosin *= thickness * (1 + 0.10 * smooth_noise(rng, layout.shape, 100)) * stain.eosin
    fold = cv2.GaussianBlur(folds.astype(np.float32), (0, 0), 2.0)
    blue = _unit((0.60, 0.72, 0.34), (0.75, 0.64, 0.18), 0.75 * stain.blue)
    red = _unit((0.16, 0.86, 0.47), (0.04, 0.80, 0.60), 0.75 * stain.red)
    density = haematoxylin[..., None] * blue * 1.15 + eosin[..., None] * red * 0.8
    density = density * (1 + 0.9 * fold[..., None]) + fold[..., None] * 0.25
    image = stain.light * np.exp(-density)
    soft = cv2.GaussianBlur(image, (0, 0), 3.5)
    image = cv2.GaussianBlur(image, (0, 0), stain.blur)
    image += (soft - image) * fold[..., None]
    ys, xs = pixel_grid(layout.shape)
    tilt = rng.uniform(-0.04, 0.04, 2)
    image *= (1 + tilt[0] * (ys / ys.max() - 0.5) + tilt[1] * (xs / xs.max() - 0.5))[..., None]
    return np.asarray(image + rng.normal(0, 0.012, image.shape), np.float32)

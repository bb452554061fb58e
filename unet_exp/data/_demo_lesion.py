"""A generated stand-in for ISIC 2017 Task 1: dermoscopy-like pictures, in the official layout.

*Dataset features*: 60 training, 16 validation and 24 test images of about 160 to 260 pixels a side; skin of
all tones, lesions from black to barely visible, hairs, rulers, gel bubbles, colour patches, dark corners.

*Dataset format*: as published: `ISIC-2017_<part>_Data/ISIC_%07d.jpg` and
`ISIC-2017_<part>_Part1_GroundTruth/ISIC_%07d_segmentation.png` (0 and 255). A few `_superpixels.png` files
lie among the images, as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from unet_exp.data._demo_common import (
    ByteArray,
    FloatArray,
    Shape,
    fractal_noise,
    jittered_points,
    nearest,
    pixel_grid,
    pixel_list,
    ramp,
    smooth_noise,
    to_bytes,
    write_jpeg,
    write_png,
)
from unet_exp.data._demo_lens import add_artefacts

IMAGES_PER_PART: Mapping[str, int] = {"Training": 60, "Validation": 16, "Test_v2": 24}

_SUPERPIXELS_PER_PART = 2

# From pale to dark; in between is interpolated.
_SKIN_TONES = np.array(
    [(0.93, 0.80, 0.76), (0.90, 0.70, 0.60), (0.80, 0.60, 0.48), (0.64, 0.45, 0.34), (0.48, 0.33, 0.26)]
)
_BROWN = np.array([0.42, 0.85, 1.25], np.float32)  # absorption of melanin near the surface
_BLUE_GREY = np.array([1.15, 0.95, 0.75], np.float32)  # of melanin deep in the skin
_BLOOD = np.array([0.12, 0.85, 0.65], np.float32)


def make_lesion_demo(root: Path, *, seed: int = 0, images_per_part: Mapping[str, int] = IMAGES_PER_PART) -> None:
    """Write the lesion demo into `root`.

    Args:
        root: A fresh folder.
        seed: Another seed gives other pictures.
        images_per_part: Number of images of each official part.
    """
    index = 0
    for part, count in images_per_part.items():
        images = root / f"ISIC-2017_{part}_Data"
        masks = root / f"ISIC-2017_{part}_Part1_GroundTruth"
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for number in range(count):
            name = f"ISIC_{index:07d}"
            image, mask = make_lesion_case(np.random.default_rng([seed, index]))
            write_jpeg(images / f"{name}.jpg", image)
            write_png(masks / f"{name}_segmentation.png", mask)
            if number < _SUPERPIXELS_PER_PART:
                write_png(images / f"{name}_superpixels.png", _superpixels((mask.shape[0], mask.shape[1])))
            index += 1


def make_lesion_case(rng: np.random.Generator) -> tuple[ByteArray, ByteArray]:
    """Make one picture.

    Returns:
        RGB image (H, W, 3) and mask of 0 and 255 (H, W).
    """
    height = int(rng.integers(160, 209))
    shape: Shape = (height, min(260, int(height * rng.uniform(1.05, 1.45))))
    tone = rng.uniform(0, len(_SKIN_TONES) - 1)
    outline = _outline(rng, shape)
    lesion = outline > 0
    skin = _skin(rng, shape, tone)
    # A quarter of the lesions is barely visible, on dark skin hardly less.
    strength = rng.uniform(0.22, 0.4) if rng.random() < 0.25 else rng.uniform(0.45, 1.3)
    pigment = _pigment(rng, outline) * strength
    image = add_artefacts(rng, skin * np.exp(-pigment))
    return to_bytes(image), (lesion * 255).astype(np.uint8)


def _outline(rng: np.random.Generator, shape: Shape) -> FloatArray:
    """Return the signed distance in pixels to an irregular closed outline, positive inside the lesion."""
    ys, xs = pixel_grid(shape)
    size = min(shape) * (rng.uniform(0.14, 0.22) if rng.random() < 0.3 else rng.uniform(0.22, 0.40))
    y, x = (np.array(shape) / 2 + rng.uniform(-0.12, 0.12, 2) * shape).astype(np.float32)
    turn, flattening = rng.uniform(0, np.pi), rng.uniform(0.65, 1.0)
    along = np.cos(turn) * (xs - x) + np.sin(turn) * (ys - y)
    across = (np.cos(turn) * (ys - y) - np.sin(turn) * (xs - x)) / flattening
    direction = np.arctan2(across, along)
    radius = np.full(shape, size, np.float32)
    for wave in range(2, 7):
        amount = rng.normal(0, 0.16) / wave
        radius += size * amount * np.cos(wave * direction + rng.uniform(0, 2 * np.pi))
    ragged = rng.uniform(0.5, 2.5)
    inside = radius + ragged * fractal_noise(rng, shape, 14) > np.hypot(along, across)
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8))
    largest = (pieces == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
    signed = cv2.distanceTransform(largest, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - largest, cv2.DIST_L2, 5)
    return np.asarray(signed, np.float32)


def _skin(rng: np.random.Generator, shape: Shape, tone: float) -> FloatArray:
    """Return bare skin: tone, redness, uneven tan and the fine furrows of its surface."""
    low = min(int(tone), len(_SKIN_TONES) - 2)
    colour = _SKIN_TONES[low] + (tone - low) * (_SKIN_TONES[low + 1] - _SKIN_TONES[low])
    colour = colour * rng.uniform(0.92, 1.06) + rng.uniform(-0.03, 0.03, 3)
    tan = 0.05 * smooth_noise(rng, shape, 60) + 0.02 * smooth_noise(rng, shape, 12)
    freckle = 0.35 * rng.random() * ramp(smooth_noise(rng, shape, 9), 1.9, 2.6)
    redness = rng.uniform(0.01, 0.05) * fractal_noise(rng, shape, 40)
    furrow = rng.uniform(0.0, 0.05) * _meshes(rng, shape, 6.0, 1.0)
    density = (tan + freckle)[..., None] * _BROWN + redness[..., None] * _BLOOD + furrow[..., None] * 0.8
    return np.asarray(colour * np.exp(-density), np.float32)


def _meshes(rng: np.random.Generator, shape: Shape, spacing: float, thickness: float) -> FloatArray:
    """Return a net of lines (1) around meshes (0)."""
    distance, _ = nearest(jittered_points(rng, shape, spacing), pixel_list(shape), 2)
    gap = (distance[:, 1] - distance[:, 0]).reshape(shape)
    return np.exp(-((gap / (2 * thickness)) ** 2)).astype(np.float32)


def _pigment(rng: np.random.Generator, outline: FloatArray) -> FloatArray:
    """Return the absorption (H, W, 3) of a lesion: its colours, its pattern, its fading border."""
    shape = (outline.shape[0], outline.shape[1])
    fade = ramp(outline + 1.2 * smooth_noise(rng, shape, 5), -rng.uniform(0.5, 4.0), rng.uniform(1.0, 9.0))
    uneven = np.clip(1 + rng.uniform(0.15, 0.4) * fractal_noise(rng, shape, 28), 0.15, None)
    brown = fade * uneven * _pattern(rng, shape)
    deep = fade * ramp(smooth_noise(rng, shape, 30), 0.5, 1.5) * (rng.uniform(0.3, 0.9) if rng.random() < 0.5 else 0.0)
    red = fade * (rng.uniform(0.4, 0.9) if rng.random() < 0.18 else rng.uniform(0.0, 0.25))
    if rng.random() < 0.3:  # regression: scar-like white areas inside
        brown *= 1 - 0.8 * ramp(smooth_noise(rng, shape, 26), 0.6, 1.3)
    halo = rng.uniform(0.0, 0.15) * np.exp(-np.maximum(-outline, 0) / 10) * (1 - fade)
    density = brown[..., None] * _BROWN + deep[..., None] * _BLUE_GREY + (red + halo)[..., None] * _BLOOD
    return np.asarray(density, np.float32)


def _pattern(rng: np.random.Generator, shape: Shape) -> FloatArray:
    """Return one of the textures that dermatologists know: network, globules, blotches, or none."""
    kind = rng.choice(["network", "globules", "blotches", "plain"], p=[0.4, 0.25, 0.2, 0.15])
    if kind == "network":
        lines = _meshes(rng, shape, rng.uniform(5, 8), 0.7) * (1 + 0.45 * smooth_noise(rng, shape, 18))
        return 0.6 + rng.uniform(0.3, 0.7) * np.maximum(lines, 0)
    if kind == "globules":
        return 0.6 + rng.uniform(0.4, 0.9) * _dots(rng, shape, rng.uniform(7, 10))
    if kind == "blotches":
        return 0.6 + rng.uniform(0.4, 0.9) * ramp(smooth_noise(rng, shape, 16), 0.0, 0.9)
    return 0.8 + 0.08 * smooth_noise(rng, shape, 4)


def _dots(rng: np.random.Generator, shape: Shape, spacing: float) -> FloatArray:
    """Return round dots of differing size."""
    centres = jittered_points(rng, shape, spacing)
    size = rng.uniform(0.12, 0.40, len(centres)) * spacing
    distance, owner = nearest(centres, pixel_list(shape), 2)
    return np.clip(size[owner[:, 0]] - distance[:, 0] + 0.5, 0, 1).reshape(shape).astype(np.float32)


def _superpixels(shape: Shape) -> ByteArray:
    """Return a picture such as the published superpixel files: an index of tiles as colours, not an image."""
    ys, xs = np.mgrid[: shape[0], : shape[1]] // 16
    return np.stack([ys * 16 % 256, xs * 16 % 256, np.zeros_like(ys)], axis=-1).astype(np.uint8)

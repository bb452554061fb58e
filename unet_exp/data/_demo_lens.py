"""What lies between skin and camera in the lesion demo: hairs, rulers, bubbles, colour patches, dark corners.

They share their colours with the lesions, so that colour alone does not find a lesion.
"""

from __future__ import annotations

import cv2
import numpy as np

from unet_exp.data._demo_common import FloatArray, Shape, pixel_grid, ramp

_SUBPIXEL_BITS = 4  # cv2 draws at fractions of a pixel when coordinates are shifted


def add_artefacts(rng: np.random.Generator, image: FloatArray) -> FloatArray:
    """Add to a clean picture (H, W, 3) of range 0..1 what a clinic's picture has besides skin."""
    shape = (image.shape[0], image.shape[1])
    if rng.random() < 0.35:
        image = _bubbles(rng, image)
    if rng.random() < 0.30:
        image = _colour_patch(rng, image)
    if rng.random() < 0.35:
        image = _ruler(rng, image)
    if rng.random() < 0.55:
        image = _hairs(rng, image)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9))
    image = image * _light(rng, shape)[..., None] * rng.uniform(0.94, 1.06, 3)
    return np.asarray(image + rng.normal(0, 0.008, image.shape), np.float32)


def _hairs(rng: np.random.Generator, image: FloatArray) -> FloatArray:
    """Lay curved hairs over the picture, mostly in one direction."""
    height, width = image.shape[:2]
    canvas = np.zeros((height, width), np.uint8)
    direction, spread = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 1.2)
    steps = np.linspace(-0.5, 0.5, 24)[:, None]
    for _ in range(int(rng.integers(4, 22))):
        angle = direction + spread * rng.standard_normal()
        along = np.array([np.cos(angle), np.sin(angle)])
        middle = rng.uniform(0, 1, 2) * (width, height)
        bend = rng.normal(0, 0.13) * np.array([-along[1], along[0]])
        points = middle + (steps * along + (4 * steps**2) * bend) * rng.uniform(50, 180)
        fixed = np.rint(points * 2**_SUBPIXEL_BITS).astype(np.int32)
        cv2.polylines(canvas, [fixed], False, int(rng.integers(120, 256)), 1, cv2.LINE_AA, _SUBPIXEL_BITS)
    colour = np.array([0.16, 0.10, 0.08]) * rng.uniform(0.5, 2.5)
    cover = (canvas / 255 * rng.uniform(0.6, 0.9))[..., None]
    return np.asarray(image * (1 - cover) + colour * cover, np.float32)


def _ruler(rng: np.random.Generator, image: FloatArray) -> FloatArray:
    """Draw the ticks of a scale along one side."""
    height, width = image.shape[:2]
    canvas = np.zeros((height, width), np.uint8)
    margin, step, tilt = rng.uniform(4, 14), rng.uniform(6, 9), rng.uniform(-0.1, 0.1)
    for number, x in enumerate(np.arange(rng.uniform(5, 40), width * rng.uniform(0.6, 1.0), step)):
        y, length = margin + tilt * x, 11 if number % 5 == 0 else 6
        ends = np.rint(np.array([(x, y), (x - tilt * length, y + length)]) * 2**_SUBPIXEL_BITS).astype(np.int32)
        cv2.polylines(canvas, [ends], False, 255, 1, cv2.LINE_AA, _SUBPIXEL_BITS)
    if rng.random() < 0.5:
        canvas = canvas[::-1]
    cover = (canvas / 255 * 0.85)[..., None]
    return np.asarray(image * (1 - cover) + 0.12 * cover, np.float32)


def _bubbles(rng: np.random.Generator, image: FloatArray) -> FloatArray:
    """Add bubbles of the contact gel: a bright ring and a highlight."""
    ys, xs = pixel_grid((image.shape[0], image.shape[1]))
    for _ in range(int(rng.integers(2, 9))):
        y, x = rng.uniform(0, 1, 2) * image.shape[:2]
        radius = rng.uniform(1.5, 4) if rng.random() < 0.7 else rng.uniform(4, 10)
        distance = np.hypot(ys - y, xs - x)
        ring = rng.uniform(0.06, 0.16) * np.exp(-(((distance - radius) / 0.8) ** 2))
        shine = np.hypot(ys - y + 0.4 * radius, xs - x + 0.4 * radius)
        light = ring + 0.35 * np.exp(-((shine / (0.12 * radius + 0.4)) ** 2)) - 0.05 * (distance < radius)
        image = image + light[..., None]
    return np.asarray(image, np.float32)


def _colour_patch(rng: np.random.Generator, image: FloatArray) -> FloatArray:
    """Lay a round coloured sticker, as used with children's skin, over the edge of the picture."""
    height, width = image.shape[:2]
    ys, xs = pixel_grid((height, width))
    colours = [(0.05, 0.55, 0.85), (0.75, 0.62, 0.10), (0.20, 0.50, 0.25), (0.62, 0.20, 0.15)]
    colour = np.array(colours[int(rng.integers(len(colours)))]) * rng.uniform(0.8, 1.1)
    radius = rng.uniform(0.25, 0.4) * height
    side = rng.uniform(0, 2 * np.pi)
    y = height / 2 + np.sin(side) * (height / 2 + 0.55 * radius)
    x = width / 2 + np.cos(side) * (width / 2 + 0.55 * radius)
    cover = ramp(np.hypot(ys - y, xs - x), radius + 0.7, radius - 0.7)[..., None]
    return np.asarray(image * (1 - cover) + colour * cover, np.float32)


def _light(rng: np.random.Generator, shape: Shape) -> FloatArray:
    """Return the light's falloff: a vignette, a gradient, and in some pictures the round edge of the lens."""
    ys, xs = pixel_grid(shape)
    centre = np.array(shape) / 2 + rng.uniform(-0.05, 0.05, 2) * shape
    radius = np.hypot(ys - centre[0], xs - centre[1]) / np.hypot(*(np.array(shape) / 2))
    light = 1 - rng.uniform(0.05, 0.45) * radius**2.5
    light += rng.uniform(-0.12, 0.12) * (ys / shape[0] - 0.5) + rng.uniform(-0.12, 0.12) * (xs / shape[1] - 0.5)
    if rng.random() < 0.35:
        edge = rng.uniform(0.80, 0.95)
        light *= 0.03 + 0.97 * ramp(radius, edge + rng.uniform(0.01, 0.05), edge)
    return np.asarray(light, np.float32)

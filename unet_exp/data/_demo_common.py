"""Noise, point patterns and file writing shared by the demo data generators.

Everything is vectorised: one demo image takes a fraction of a second on one core, so the demo sets are
generated on first use and need neither network nor stored pictures.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]
ByteArray = NDArray[np.uint8]
Shape = tuple[int, int]


def smooth_noise(rng: np.random.Generator, shape: Shape, scale: float) -> FloatArray:
    """Return smooth noise of zero mean and unit deviation.

    Args:
        rng: Source of randomness.
        shape: Height and width of the field.
        scale: Size of a bump in pixels.
    """
    height, width = shape
    grid_shape = (int(np.ceil(height / scale)) + 4, int(np.ceil(width / scale)) + 4)
    grid = rng.standard_normal(grid_shape, dtype=np.float32)
    size = (int(np.ceil(grid_shape[1] * scale)), int(np.ceil(grid_shape[0] * scale)))
    field = cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)
    # The grid's cells would line up between images without a random offset.
    top, left = (int(rng.integers(0, have - want + 1)) for have, want in zip(field.shape, shape, strict=True))
    field = field[top : top + height, left : left + width]
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)


def fractal_noise(rng: np.random.Generator, shape: Shape, scale: float, octaves: int = 3) -> FloatArray:
    """Return noise of several scales, each half as large and half as strong as the one before."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        total += smooth_noise(rng, shape, max(1.0, scale / 2**octave)) * np.float32(0.5**octave)
    return np.asarray(total / total.std(), np.float32)


def pixel_grid(shape: Shape) -> tuple[FloatArray, FloatArray]:
    """Return the y and the x coordinate of every pixel."""
    ys, xs = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return ys, xs


def pixel_list(shape: Shape) -> FloatArray:
    """Return the coordinates (y, x) of all pixels, row by row."""
    return np.stack([axis.ravel() for axis in pixel_grid(shape)], axis=1)


def jittered_points(
    rng: np.random.Generator, shape: Shape, spacing: float, jitter: float = 0.35
) -> NDArray[np.float64]:
    """Return points (y, x) of a hexagonal lattice with random displacements: no overlaps, no visible rows."""
    rows = np.arange(-spacing, shape[0] + spacing, spacing * 0.87)
    columns = np.arange(-spacing, shape[1] + spacing, spacing)
    ys, xs = np.meshgrid(rows, columns, indexing="ij")
    xs = xs + (np.arange(len(rows)) % 2)[:, None] * spacing / 2
    points = np.stack([ys.ravel(), xs.ravel()], axis=1)
    return points + rng.uniform(-jitter, jitter, points.shape) * spacing


def inside(points: NDArray[np.float64], mask: BoolArray) -> BoolArray:
    """Say which points (y, x) lie on a true pixel of `mask`."""
    rows, columns = np.rint(points).astype(np.intp).T
    valid = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    result = np.zeros(len(points), np.bool_)
    result[valid] = mask[rows[valid], columns[valid]]
    return result


def nearest(
    centres: NDArray[np.float64], pixels: NDArray[np.floating], k: int, reach: float = np.inf
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Find the `k` > 1 nearest centres of every pixel.

    Returns:
        Distances and indices (pixels, k); infinity and `len(centres)` where there are fewer within `reach`.
    """
    distance, index = cKDTree(centres).query(pixels, k=k, distance_upper_bound=reach)
    return np.asarray(distance, np.float64), np.asarray(index, np.intp)


def ramp(values: FloatArray, start: float, stop: float) -> FloatArray:
    """Map `start` to 0 and `stop` to 1, linearly between and constant beyond."""
    return np.asarray(np.clip((values - start) / (stop - start), 0.0, 1.0), np.float32)


def to_bytes(image: FloatArray) -> ByteArray:
    """Convert an image of range 0..1 to bytes."""
    return np.asarray(np.rint(np.clip(image, 0.0, 1.0) * 255.0), np.uint8)


def write_png(path: Path, array: ByteArray) -> None:
    """Write a grey or an RGB picture."""
    Image.fromarray(array).save(path, format="PNG", compress_level=4)


def write_jpeg(path: Path, array: ByteArray) -> None:
    """Write an RGB picture, compressed as little as the published photographs."""
    Image.fromarray(array).save(path, format="JPEG", quality=92)

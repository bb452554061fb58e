"""Generated regions of tissue-like texture, in every form that a contestant reads: deterministic, no download."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

CODES = (0, 1, 2, 3, 4)
"""Codes of BCSS that the masks hold; 0, outside the annotated area, takes a part of every region."""

_HAEMATOXYLIN, _EOSIN = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])
"""Absorption of red, green and blue (Ruifrok & Johnston 2001)."""

Bytes = NDArray[np.uint8]


def make_region(seed: int, side: int) -> tuple[Bytes, Bytes]:
    """Image (side, side, 3) and mask of codes (side, side): two dyes in textures of three scales, and grain."""
    rng = np.random.default_rng(seed)
    dyes = [sum(_smooth(rng, side, scale) for scale in (4, 24, 160)) for _ in range(2)]
    density = sum(
        np.maximum(0, 0.25 + 0.12 * dye)[..., None] * vector.astype(np.float32)
        for dye, vector in zip(dyes, (_HAEMATOXYLIN, _EOSIN), strict=True)
    )
    grain = rng.standard_normal((side, side, 3), dtype=np.float32) * 3
    image = (245 * np.exp(-density) + grain).clip(0, 255).astype(np.uint8)
    heights = np.stack([_smooth(rng, side, side / 8) for _ in CODES])
    return image, np.asarray(CODES, np.uint8)[heights.argmax(0)]


def _smooth(rng: np.random.Generator, side: int, scale: float) -> NDArray[np.float32]:
    """Noise of unit deviation whose bumps are `scale` pixels wide."""
    cells = int(side / scale) + 2
    grid = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)


def write_bcss(folder: Path, count: int, side: int) -> Path:
    """Regions as PNG in the layout of BCSS, 0.25 µm per pixel; made once.

    Returns:
        The folder, with `images` and `masks`.
    """
    for number in range(count):
        name = f"TCGA-A2-A{number:03d}-DX1_xmin0_ymin0_MPP-0.2500.png"
        if (folder / "masks" / name).exists():
            continue
        image, mask = make_region(number, side)
        for kind, pixels in (("images", image), ("masks", mask)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / kind / name)
    return folder


def write_photographs(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """Photographs as JPEG with masks of one blob, in the layout of `data=folder`; made once.

    Args:
        folder: Where `images` and `masks` are put.
        count: Number of photographs.
        size: Height and width in pixels.
    """
    height, width = size
    ys, xs = np.mgrid[:height, :width]
    for number in range(count):
        target = folder / "masks" / f"{number:04d}.png"
        if target.exists():
            continue
        image, _ = make_region(number, max(size))
        inside = ((ys / height - 0.5) ** 2 + (xs / width - 0.5) ** 2 < 0.04 + 0.0004 * (number % 100)).astype(np.uint8)
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:height, :width]).save(folder / "images" / f"{number:04d}.jpg", quality=90)
        Image.fromarray(inside * 255).save(target)
    return folder


def write_arrays(folder: Path, pictures: list[Path], *, side: int | None = None) -> list[Path]:
    """The same pictures as .npy files, resized to a square if `side` is given; made once."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = []
    for picture in pictures:
        array = folder / f"{picture.stem}.npy"
        if not array.exists():
            pixels = np.asarray(Image.open(picture))
            if side is not None:
                interpolation = cv2.INTER_AREA if pixels.ndim == 3 else cv2.INTER_NEAREST
                pixels = np.asarray(cv2.resize(pixels, (side, side), interpolation=interpolation))
            np.save(array, pixels)
        arrays.append(array)
    return arrays

"""Synthetic whole slides: pyramids in tiled TIFF files of any size, written tile by tile."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tifffile

TILE = 256

Coordinates = np.ndarray
ImageFunction = Callable[[Coordinates, Coordinates], np.ndarray]
"""Rows (h, 1) and columns (1, w) of the finest level in, RGB (h, w, 3) out; only there are they ever computed."""

_GLASS = (243, 241, 244)
_TISSUE_COLORS = np.random.default_rng(0).integers((120, 40, 110), (230, 170, 220), (64, 3)).astype(np.uint8)


def tissue(y: Coordinates, x: Coordinates) -> np.ndarray:
    """Squares of 32 pixels in pink and purple; every third square of 1024 pixels is glass."""
    colors = _TISSUE_COLORS[((y >> 5) ^ (x >> 5)) & 63]
    colors[((y >> 10) + (x >> 10)) % 3 == 2] = _GLASS
    return colors


def write_pyramid(
    path: Path,
    size: tuple[int, int],
    *,
    mpp: float | None = None,
    image: ImageFunction = tissue,
    downsamples: Sequence[float] = (1, 4, 16),
    aperio: bool = False,
    bits: int = 8,
) -> None:
    """Write a pyramid that OpenSlide reads, as generic TIFF or as a file of an Aperio scanner.

    Args:
        path: The file.
        size: Height and width of the finest level.
        mpp: Micrometres per pixel, none if None.
        image: The picture.
        downsamples: Of the levels. Their sides are rounded down, as scanners do; their pixels are not averages but the
            pixel in the middle.
        aperio: Whether to describe it as Aperio does, with the resolution only in there.
        bits: Per channel, 8 or 16.
    """
    about = f"Aperio Image Library v12.0.0\r\n{size[1]}x{size[0]} ({TILE}x{TILE})|AppMag = 40"
    about += "" if mpp is None else f"|MPP = {mpp:.4f}"
    resolution = None if mpp is None or aperio else (1e4 / mpp, 1e4 / mpp)
    with tifffile.TiffWriter(path, bigtiff=size[0] * size[1] > 2**29) as file:
        for downsample in downsamples:
            shape = tuple(int(side / downsample) for side in size)
            file.write(
                (tile.astype(f"uint{bits}") for tile in _tiles(shape, size, downsample, image)),
                shape=(*shape, 3),
                dtype=f"uint{bits}",
                tile=(TILE, TILE),
                photometric="rgb",
                compression="zlib",
                compressionargs={"level": 1},
                subfiletype=int(downsample != downsamples[0]),
                description=about if aperio else None,
                resolution=resolution,
                resolutionunit="CENTIMETER" if resolution else None,
                metadata=None,
                maxworkers=1,
            )


def _tiles(
    shape: tuple[int, ...], size: tuple[int, int], downsample: float, image: ImageFunction
) -> Iterator[np.ndarray]:
    rows, columns = (
        np.minimum((np.arange(cells) + 0.5) * downsample, side - 1).astype(np.int32)
        for cells, side in zip(shape, size, strict=True)
    )
    for top in range(0, shape[0], TILE):
        for left in range(0, shape[1], TILE):
            tile = image(rows[top : top + TILE, None], columns[None, left : left + TILE])
            missing = TILE - tile.shape[0], TILE - tile.shape[1]
            yield np.pad(tile, ((0, missing[0]), (0, missing[1]), (0, 0)))

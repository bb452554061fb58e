"""How far a prediction in windows is from that of one pass over the whole image."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

STRIP = 32
"""Width in pixels of the strips of which the worst is told: a seam with 16 pixels on each side of it."""
BYTES_PER_CHANNEL = 40
"""Peak memory of one pass of a UNet per pixel and channel at full resolution: ten float32 tensors, measured."""


class Seams(NamedTuple):
    """Shares of pixels whose class differs.

    Args:
        everywhere: Of all pixels.
        worst_strip: Of the pixels in that straight strip across the image, upright or level, where most differ.
    """

    everywhere: float
    worst_strip: float


def compare(labels: NDArray[np.uint8], reference: NDArray[np.uint8]) -> Seams:
    """Compare class ids (H, W), for images no smaller than a strip."""
    differs = labels != reference
    box = np.ones(STRIP) / STRIP
    strips = [np.convolve(differs.mean(axis), box, mode="valid").max() for axis in (0, 1)]
    return Seams(float(differs.mean()), float(max(strips)))


def fits_in_memory(side: int, base_channels: int) -> bool:
    """Whether one pass over a square takes at most two thirds of the memory that is free."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    return side**2 * base_channels * BYTES_PER_CHANNEL < 2 / 3 * free

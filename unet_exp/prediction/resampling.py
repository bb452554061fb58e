"""Resampling piece by piece: each piece has the pixels that resampling the whole image would give.

`unet_exp.data._image.resize_image` resamples pictures, for training too, with OpenCV's area averages when shrinking and
cubic interpolation when enlarging. OpenCV can do so only with whole images: pieces would begin between two pixels.
Here the weights of the same two filters are computed from the place of a pixel within the whole image.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import scipy.sparse
from numpy.typing import NDArray

_CUBIC = -0.75
"""The free parameter of the cubic kernel, as in OpenCV."""


@dataclass(frozen=True)
class Taps:
    """Which source pixels make some neighbouring pixels along an axis.

    Args:
        first: The first source pixel that is needed.
        weights: Sparse (pixels, source pixels); rows sum to 1.
    """

    first: int
    weights: Any

    @property
    def span(self) -> int:
        """Number of source pixels that are needed."""
        return int(self.weights.shape[1])


@dataclass(frozen=True)
class Axis:
    """How the pixels along one side of a resampled image are made.

    Args:
        source: Side of the source in pixels; beyond it, the last pixel is repeated.
        step: Source pixels per pixel of the result.
        shrinks: Whether to average areas; else values are interpolated.
    """

    source: int
    step: float
    shrinks: bool

    def taps(self, first: int, count: int) -> Taps:
        """The source pixels of `count` pixels from `first` on."""
        pixels = np.arange(first, first + count, dtype=np.float64)
        index, weights = self._areas(pixels) if self.shrinks else self._cubic(pixels)
        index = index.clip(0, self.source - 1)
        start, end = int(index.min()), int(index.max()) + 1
        rows = np.arange(0, index.size + 1, index.shape[1])
        entries = (weights.astype(np.float32).ravel(), (index - start).ravel(), rows)
        return Taps(start, scipy.sparse.csr_array(entries, shape=(count, end - start)))

    def _areas(self, pixels: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The share of each source pixel (n, taps) in the stretch that a pixel covers."""
        start, end = pixels[:, None] * self.step, (pixels[:, None] + 1) * self.step
        index = np.floor(start).astype(np.int64) + np.arange(math.ceil(self.step) + 1)
        covered = np.minimum(end, index + 1) - np.maximum(start, index)
        return index, covered.clip(0) / self.step

    def _cubic(self, pixels: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The kernel of Keys (1981) at the four source pixels around the centre of a pixel."""
        center = (pixels[:, None] + 0.5) * self.step - 0.5
        index = np.floor(center).astype(np.int64) + np.arange(-1, 3)
        far = np.abs(center - index)
        near = ((_CUBIC + 2) * far - (_CUBIC + 3)) * far**2 + 1
        return index, np.where(far <= 1, near, ((far - 5) * far + 8) * far * _CUBIC - 4 * _CUBIC)


def resample(region: NDArray[np.uint8], rows: Taps, columns: Taps) -> NDArray[np.uint8]:
    """Resample a region (rows.span, columns.span, 3) that begins at `rows.first` and `columns.first`.

    Returns:
        (H, W, 3).
    """
    height, width = region.shape[:2]
    down = rows.weights @ region.reshape(height, width * 3).astype(np.float32)
    turned = cv2.transpose(down.reshape(-1, width, 3)).reshape(width, -1)
    both = np.maximum(columns.weights @ turned, 0).reshape(columns.weights.shape[0], -1, 3)
    return np.asarray(cv2.transpose(cv2.convertScaleAbs(both)), np.uint8)  # rounds and cuts at 255

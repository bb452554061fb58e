"""Concentric crops at coarser resolutions, aligned with the patch to the pixel.

A coarser level is made from the finer one by averaging blocks of factor x factor pixels, so coarse pixel (i, j)
covers fine pixels [factor i, factor (i + 1)) exactly, which resizing a whole region to a rounded size would not.
The alignment rule is HookNet's (van Rijthoven et al., https://arxiv.org/abs/2006.12230).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from unet_exp.data._case import Image, Labels
from unet_exp.data._store import StoredCase
from unet_exp.errors import ConfigError


@dataclass(frozen=True)
class ContextLevel:
    """One coarser resolution.

    Args:
        factor: Fine pixels per coarse pixel.
        cases: The same cases as the fine ones, in the same order.
    """

    factor: int
    cases: Sequence[StoredCase]

    @property
    def target_types(self) -> dict[str, str]:
        """What albumentations must know of the entries that this level adds to a sample."""
        return {f"image_x{self.factor}": "image", f"mask_x{self.factor}": "mask", f"valid_x{self.factor}": "mask"}

    def crop(self, choice: int, top: int, left: int, size: int, ignore_index: int) -> dict[str, NDArray[np.uint8]]:
        """The crop of `size` coarse pixels with the same centre as a fine patch of `size` pixels.

        Args:
            choice: Which case.
            top: First row of the fine patch, a multiple of the factor.
            left: First column of the fine patch, a multiple of the factor.
            size: Side of both crops in pixels of their own.
            ignore_index: Class id given to pixels outside the image.

        Returns:
            Image (size, size, C), mirrored beyond the border, mask (size, size), and 1 where the image is, else 0.
        """
        case = self.cases[choice]
        start = top // self.factor - self._margin(size), left // self.factor - self._margin(size)
        image, valid = crop_mirrored(case.image, start, size)
        labels, _ = crop_mirrored(case.labels, start, size)
        names = iter(self.target_types)
        return dict(zip(names, (image, np.where(valid, labels, ignore_index).astype(np.uint8), valid), strict=True))

    def _margin(self, size: int) -> int:
        """Coarse pixels from the border of the coarse crop to that of the fine patch."""
        return size // 2 - size // (2 * self.factor)


def context_factors(mpp: float, context_mpp: Sequence[float], patch_size: int) -> list[int]:
    """How many times coarser each context resolution is.

    Raises:
        ConfigError: If one is not a whole multiple, or the patches cannot be aligned.
    """
    factors = [round(coarse / mpp) for coarse in context_mpp]
    for coarse, factor in zip(context_mpp, factors, strict=True):
        if factor < 2 or abs(coarse / mpp - factor) > 1e-6:
            raise ConfigError(
                [f"data.context_mpp: {coarse:g} is not a whole multiple (2, 3, ...) of data.mpp={mpp:g}."]
            )
        if patch_size % (2 * factor):
            raise ConfigError(
                [f"data.patch_size: {patch_size} must be a multiple of {2 * factor} to be aligned with {coarse:g} µm."]
            )
    return factors


def coarser_shape(shape: Sequence[int], factor: int) -> tuple[int, ...]:
    """Shape of an array (H, W, ...) at `factor` times coarser resolution."""
    return -(-shape[0] // factor), -(-shape[1] // factor), *shape[2:]


def coarsen(image: Image, labels: Labels, factor: int, ignore_index: int) -> tuple[Image, Labels]:
    """Average an image over blocks of factor x factor pixels; class ids are those of the block's centre."""
    height, width = coarser_shape(labels.shape, factor)
    below, beside = height * factor - labels.shape[0], width * factor - labels.shape[1]
    mirrored = cv2.copyMakeBorder(image, 0, below, 0, beside, cv2.BORDER_REFLECT)
    averaged = cv2.resize(mirrored, (width, height), interpolation=cv2.INTER_AREA)
    padded = np.pad(labels, ((0, below), (0, beside)), constant_values=ignore_index)
    middle = factor // 2
    return np.asarray(averaged, np.uint8), np.ascontiguousarray(padded[middle::factor, middle::factor])


def crop_mirrored(
    array: NDArray[np.uint8], start: tuple[int, int], size: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A square window that may leave the image.

    Args:
        array: (H, W) or (H, W, C).
        start: First row and column, possibly negative.
        size: Side of the window.

    Returns:
        The window, mirrored beyond the border as often as needed, and 1 where it is inside the image, else 0.
    """
    rows, columns = (np.arange(first, first + size) for first in start)
    valid = np.zeros((size, size), np.uint8)
    inside = [(lines >= 0) & (lines < side) for lines, side in zip((rows, columns), array.shape[:2], strict=True)]
    valid[np.ix_(*inside)] = 1
    if all(lines.all() for lines in inside):
        return array[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], valid
    window = array.take(_mirrored(rows, array.shape[0]), axis=0).take(_mirrored(columns, array.shape[1]), axis=1)
    return window, valid


def _mirrored(lines: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """Fold line numbers into 0..side-1; the border line is repeated (... 1 0 | 0 1 ...)."""
    folded = lines % (2 * side)
    return np.where(folded < side, folded, 2 * side - 1 - folded)

"""Which slices of a volume make a sample: a slice with its neighbours, at a drawn place."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unet_exp.data._case import Image
from unet_exp.data._store import StoredCase

_EVERYWHERE = slice(None)


class SlicePicker:
    """Draws a slice of a volume and the place of a crop within it.

    Args:
        volumes: The volumes to draw from.
        patch_size: Side of a crop in pixels; smaller slices are taken whole.
        foreground: Share of the crops that hold a foreground voxel: a class is drawn first, then a volume that has
            it, all alike (as nnU-Net does, https://doi.org/10.1038/s41592-020-01008-z), then one of its voxels. The
            others are drawn from all slices alike, and so are all of them where no volume has such a voxel.
        foreground_classes: Their class ids.
    """

    def __init__(
        self, volumes: Sequence[StoredCase], *, patch_size: int, foreground: float, foreground_classes: Sequence[int]
    ) -> None:
        self._volumes = volumes
        self._patch_size = patch_size
        self._slice_ends = np.cumsum([len(volume.labels) for volume in volumes])
        holders = [[n for n, volume in enumerate(volumes) if len(volume.locations[k])] for k in foreground_classes]
        self._holders = [(k, numbers) for k, numbers in zip(foreground_classes, holders, strict=True) if numbers]
        self._foreground = foreground if self._holders else 0.0

    def pick(self, generator: np.random.Generator) -> tuple[int, int, int, int]:
        """Volume, slice, top and left of one crop."""
        if self._foreground and generator.random() < self._foreground:
            return self._pick_foreground(generator)
        position = int(generator.integers(self._slice_ends[-1]))
        choice = int(np.searchsorted(self._slice_ends, position, side="right"))
        labels = self._volumes[choice].labels
        top, left = (int(generator.integers(self._last_start(side) + 1)) for side in labels.shape[1:])
        return choice, int(position - self._slice_ends[choice] + len(labels)), top, left

    def _pick_foreground(self, generator: np.random.Generator) -> tuple[int, int, int, int]:
        class_id, numbers = self._holders[int(generator.integers(len(self._holders)))]
        choice = numbers[int(generator.integers(len(numbers)))]
        volume = self._volumes[choice]
        positions = volume.locations[class_id]
        depth, *place = (int(axis) for axis in positions[int(generator.integers(len(positions)))])
        top, left = (
            int(generator.integers(max(0, pixel - self._patch_size + 1), min(pixel, self._last_start(side)) + 1))
            for pixel, side in zip(place, volume.labels.shape[1:], strict=True)
        )
        return choice, depth, top, left

    def _last_start(self, side: int) -> int:
        return max(0, side - self._patch_size)


def slice_stack(
    volume: NDArray[np.uint8], center: int, count: int, rows: slice = _EVERYWHERE, columns: slice = _EVERYWHERE
) -> Image:
    """A slice and its neighbours as channels (H, W, count); beyond the ends the last slice is repeated.

    Args:
        volume: (Z, H, W, 1).
        center: The slice in the middle.
        count: Number of slices, odd.
        rows: Which rows of them.
        columns: Which columns of them.
    """
    first = center - count // 2
    neighbours = np.clip(np.arange(first, first + count), 0, len(volume) - 1)
    return np.concatenate([volume[index, rows, columns] for index in neighbours], axis=-1)

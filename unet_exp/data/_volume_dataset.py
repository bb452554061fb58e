"""Crops of slices of volumes, each with its neighbouring slices as channels."""

from collections.abc import Sequence

import numpy as np

from unet_exp.data._dataset import Arrays, Augmentation, TrainDataset, padded_to
from unet_exp.data._slices import SlicePicker, slice_stack
from unet_exp.data._store import StoredCase


class SliceDataset(TrainDataset):
    """Random crops of slices; the neighbours of a slice are its further channels, the mask is its own.

    Args:
        volumes: The volumes, images (Z, H, W, 1) and class ids (Z, H, W).
        picker: Chooses slices and places; it draws from the same volumes.
        slices: Number of channels, odd.
        patch_size: Side of a crop in pixels.
        length: Crops of an epoch.
        ignore_index: Class id of what is added to slices smaller than a crop.
        augmentation: See `TrainDataset`.
        seed: See `TrainDataset`.
    """

    def __init__(
        self,
        volumes: Sequence[StoredCase],
        *,
        picker: SlicePicker,
        slices: int,
        patch_size: int,
        length: int,
        ignore_index: int,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        super().__init__(augmentation=augmentation, seed=seed)
        self._volumes = volumes
        self._picker = picker
        self._slices = slices
        self._patch_size = patch_size
        self._length = length
        self._ignore_index = ignore_index

    def __len__(self) -> int:
        return self._length

    def place(self, index: int, generator: np.random.Generator) -> tuple[int, int, int, int]:  # noqa: ARG002
        """Volume, slice, top and left."""
        return self._picker.pick(generator)

    def draw(self, index: int, generator: np.random.Generator) -> Arrays:
        """The crop at a drawn place."""
        choice, center, top, left = self.place(index, generator)
        volume = self._volumes[choice]
        rows, columns = slice(top, top + self._patch_size), slice(left, left + self._patch_size)
        image = slice_stack(volume.image, center, self._slices, rows, columns)
        crop = StoredCase(image, volume.labels[center, rows, columns], volume.class_pixels, ())
        padded = padded_to(crop, self._patch_size, self._ignore_index)
        return {"image": padded.image, "mask": padded.labels}

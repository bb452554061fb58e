"""The usual ways to make the same batches: files opened per crop, memory maps with albumentations."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import albumentations
import cv2
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks._ours import BATCH_SIZE, CROP

Bytes = NDArray[np.uint8]
Read = Callable[[int, int, int], tuple[Bytes, Bytes]]
"""Image and mask of a crop, from region number, top and left."""
ReadWhole = Callable[[int], tuple[Bytes, Bytes]]
"""Image and mask, from their number."""


def usual_transforms(
    *, resize: int | None = None, statistics: tuple[Sequence[float], Sequence[float]] | None = None
) -> albumentations.Compose:
    """Flip, quarter turns and colour jitter, as strong as that of conf/augmentation/color.yaml.

    Args:
        resize: Side that images are resized to first.
        statistics: Mean and deviation that images are normalised by, which makes them float32; None leaves bytes.
    """
    steps: list[Any] = [albumentations.Resize(resize, resize)] if resize else []
    steps += [
        albumentations.HorizontalFlip(p=0.5),
        albumentations.RandomRotate90(p=1.0),
        albumentations.ColorJitter((0.85, 1.15), (0.85, 1.15), (0.85, 1.15), (-0.03, 0.03), p=0.8),
    ]
    if statistics:
        steps.append(albumentations.Normalize(*statistics))
    return albumentations.Compose([*steps, ToTensorV2()])


class RandomCrops(Dataset[dict[str, Any]]):
    """As a tutorial writes it: draw a place, cut, transform."""

    def __init__(self, read: Read, sizes: Sequence[tuple[int, int]], transform: albumentations.Compose) -> None:
        self._read = read
        self._sizes = sizes
        self._transform = transform
        self._rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return 2000

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = int(self._rng.integers(len(self._sizes)))
        top, left = (int(self._rng.integers(side - CROP + 1)) for side in self._sizes[number])
        image, mask = self._read(number, top, left)
        result: dict[str, Any] = self._transform(image=image, mask=mask)
        return result


class WholeImages(Dataset[dict[str, Any]]):
    """As a tutorial writes it: read, transform."""

    def __init__(self, read: ReadWhole, count: int, transform: albumentations.Compose) -> None:
        self._read = read
        self._count = count
        self._transform = transform

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, mask = self._read(index)
        result: dict[str, Any] = self._transform(image=image, mask=mask)
        return result


def endless(dataset: Dataset[Any]) -> Iterator[Any]:
    """The loader and collation of torch."""
    loader = DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True, drop_last=True)
    return itertools.chain.from_iterable(itertools.repeat(loader))


def png_reader(images: Sequence[Path], masks: Sequence[Path]) -> Read:
    """Opens both files for every crop."""

    def read(number: int, top: int, left: int) -> tuple[Bytes, Bytes]:
        box = (left, top, left + CROP, top + CROP)
        image, mask = (Image.open(files[number]).crop(box) for files in (images, masks))
        return np.asarray(image), np.asarray(mask)

    return read


def memmap_reader(images: Sequence[Path], masks: Sequence[Path]) -> Read:
    """Maps one .npy per image and mask."""
    maps = [
        (np.load(image, mmap_mode="r"), np.load(mask, mmap_mode="r")) for image, mask in zip(images, masks, strict=True)
    ]

    def read(number: int, top: int, left: int) -> tuple[Bytes, Bytes]:
        image, mask = (array[top : top + CROP, left : left + CROP] for array in maps[number])
        return image, mask

    return read


def arrays_in_memory(images: Sequence[Path], masks: Sequence[Path]) -> ReadWhole:
    """Holds all arrays."""
    arrays = [(np.load(image), np.load(mask)) for image, mask in zip(images, masks, strict=True)]
    return lambda index: arrays[index]


def decoded_photographs(images: Sequence[Path], masks: Sequence[Path]) -> ReadWhole:
    """Opens both files for every sample."""

    def read(index: int) -> tuple[Bytes, Bytes]:
        image = cv2.cvtColor(cv2.imread(str(images[index])), cv2.COLOR_BGR2RGB)
        return np.asarray(image, np.uint8), np.asarray(cv2.imread(str(masks[index]), cv2.IMREAD_GRAYSCALE), np.uint8)

    return read


def bare_copies(images: Sequence[Path], masks: Sequence[Path]) -> Iterator[dict[str, torch.Tensor]]:
    """The floor: nothing but cutting crops out of the maps into a batch."""
    maps = [
        (np.load(image, mmap_mode="r"), np.load(mask, mmap_mode="r")) for image, mask in zip(images, masks, strict=True)
    ]
    arrays = [(np.asarray(image), np.asarray(mask)) for image, mask in maps]
    rng = np.random.default_rng(0)
    while True:
        batch = torch.empty(BATCH_SIZE, CROP, CROP, 3, dtype=torch.uint8)
        batch_masks = torch.empty(BATCH_SIZE, CROP, CROP, dtype=torch.uint8)
        for image_out, mask_out in zip(batch.numpy(), batch_masks.numpy(), strict=True):
            image, mask = arrays[int(rng.integers(len(arrays)))]
            top, left = (int(rng.integers(side - CROP + 1)) for side in mask.shape)
            image_out[:] = image[top : top + CROP, left : left + CROP]
            mask_out[:] = mask[top : top + CROP, left : left + CROP]
        yield {"image": batch.permute(0, 3, 1, 2), "mask": batch_masks}

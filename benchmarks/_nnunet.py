"""nnU-Net's loader (version 2): blosc2 files, patches drawn with oversampled foreground, its own augmentation."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from benchmarks._ours import BATCH_SIZE, CROP

_ROTATION = (-np.pi, np.pi)
"""Radians, for square patches in 2D."""
_LOCATIONS = 10_000
"""Positions per class that nnU-Net's preprocessing keeps."""


def crops(folder: Path, labels: dict[str, int], *, augment: bool) -> Iterator[Any]:
    """Batches as `nnUNetTrainer.get_dataloaders` makes them without worker processes.

    Args:
        folder: What `preprocess` wrote.
        labels: Value of each class.
        augment: Whether nnU-Net's default augmentation is applied, which starts from larger patches.
    """
    size = (CROP, CROP)
    transforms = None
    if augment:
        transforms = nnUNetTrainer.get_training_transforms(size, _ROTATION, None, (0, 1), False)
    return iter(
        nnUNetDataLoader(
            nnUNetDatasetBlosc2(str(folder)),
            BATCH_SIZE,
            get_patch_size(size, _ROTATION, _ROTATION, _ROTATION, (0.85, 1.25)) if augment else size,
            size,
            LabelManager(labels, None),
            oversample_foreground_percent=0.33,
            transforms=transforms,
        )
    )


def preprocess(folder: Path, images: Sequence[Path], masks: Sequence[Path]) -> Path:
    """Write .npy images and masks as nnU-Net's preprocessing leaves them; made once.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for image, mask in zip(images, masks, strict=True):
        target = str(folder / image.stem)
        if Path(f"{target}.pkl").exists():
            continue
        data = np.load(image).transpose(2, 0, 1)[:, None].astype(np.float32) / 255
        segmentation = np.load(mask)[None, None].astype(np.int16)
        blocks, chunks = comp_blosc2_params(data.shape, (CROP, CROP), data.itemsize)
        mask_blocks, mask_chunks = comp_blosc2_params(segmentation.shape, (CROP, CROP), segmentation.itemsize)
        nnUNetDatasetBlosc2.save_case(
            data,
            segmentation,
            {"class_locations": _class_locations(segmentation)},
            target,
            chunks=chunks,
            blocks=blocks,
            chunks_seg=mask_chunks,
            blocks_seg=mask_blocks,
        )
    return folder


def _class_locations(segmentation: np.ndarray) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(0)
    positions = {int(value): np.argwhere(segmentation == value) for value in np.unique(segmentation) if value}
    return {value: found[rng.integers(len(found), size=_LOCATIONS)] for value, found in positions.items()}

"""This project's loader, built from its own configuration as a training run builds it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from unet_exp.build import build_datamodule, build_task
from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.data._datamodule import SegmentationDataModule

BATCH_SIZE = 8
CROP = 512
"""Side of a crop in pixels."""


def region_module(regions: Path, *, augmentation: str, workers: int = 0) -> SegmentationDataModule:
    """Crops of the generated regions at their own resolution."""
    return build_datamodule(_region_config(regions, augmentation, workers))


def photograph_module(photographs: Path, *, augmentation: str, side: int) -> SegmentationDataModule:
    """Whole photographs, all but a few of them to train on."""
    choices = ["data=folder", f"data.image_size={side}", "data.split.validation_fraction=0.01"]
    return build_datamodule(_config(photographs, [*choices, f"augmentation={augmentation}"]))


def endless(datamodule: SegmentationDataModule) -> Iterator[dict[str, Tensor]]:
    """The batches of one epoch after the other."""
    loader = datamodule.train_dataloader()
    epoch = 0
    while True:
        loader.batch_sampler.sampler.set_epoch(epoch)  # Lightning does this in training
        yield from loader
        epoch += 1


def normalized_crops(regions: Path) -> Iterator[dict[str, Tensor]]:
    """With what the training task does on the device done on the CPU: float32, as most peers hand them over."""
    config = _region_config(regions, "color", 0)
    datamodule = build_datamodule(config)
    task = build_task(config, datamodule.source, {})
    for batch in endless(datamodule):
        yield {**batch, "image": task.normalize(batch["image"])}


def _region_config(regions: Path, augmentation: str, workers: int) -> Mapping[str, Any]:
    choices = ["data=bcss", "data.mpp=0.25", f"data.patch_size={CROP}", f"augmentation={augmentation}"]
    return _config(regions, [*choices, f"loader.num_workers={workers}"])


def _config(root: Path, choices: list[str]) -> Mapping[str, Any]:
    places = [f"data.root={root}", f"store_folder={root.parent / 'store'}"]
    settings = ["loader.num_workers=0", f"loader.batch_size={BATCH_SIZE}"]
    return check_train_config(compose_config("train", [*settings, *places, *choices]))

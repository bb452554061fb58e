"""From checked configuration to the parts of a training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from unet_exp.data._augmentation_check import refuse_unfit
from unet_exp.data._datamodule import SegmentationDataModule
from unet_exp.data._source import ImageSource
from unet_exp.errors import ConfigError
from unet_exp.gradient_checkpointing import checkpoint_gradients
from unet_exp.instantiate import Config, build
from unet_exp.task import DataProperties, SegmentationTask


def build_datamodule(config: Config) -> SegmentationDataModule:
    """The dataset with its loaders."""
    source: ImageSource = build(config, "data")
    augmentation = build(config, "augmentation")
    if source.in_channels != 3:
        refuse_unfit(augmentation, source.in_channels)
    whole = config["inference"]["window_size"] is None
    return SegmentationDataModule(
        source,
        store_folder=Path(config["store_folder"]),
        loader=build(config, "loader"),
        augmentation=augmentation,
        seed=config["seed"],
        evaluation_batch_size=config["inference"]["batch_size"] if whole else 1,
    )


def data_properties(source: ImageSource) -> DataProperties:
    """What the task must know of the dataset."""
    return DataProperties(
        class_names=source.class_names,
        scored_classes=source.scored_classes,
        num_outputs=source.num_classes,
        ignore_index=source.ignore_index,
        headline=source.headline,
        mean=source.mean,
        std=source.std,
    )


def build_task(config: Config, source: ImageSource, checkpoint_extras: dict[str, Any]) -> SegmentationTask:
    """Network, loss and optimiser as one Lightning module."""
    network: nn.Module = build(config, "model")
    optimizer, scheduler = build(config, "optim"), build(config, "scheduler")
    _try_optimizer(network, optimizer, scheduler)
    task = SegmentationTask(
        network=network,
        criterion=build(config, "supervision")(build(config, "loss")),
        inference=build(config, "inference"),
        data=data_properties(source),
        optimizer=optimizer,
        scheduler=scheduler,
        seed=config["seed"],
        channels_last=config["channels_last"],
        checkpoint_extras=checkpoint_extras,
    )
    if config.get("gradient_checkpointing"):
        checkpoint_gradients(network)
    if config["compile"]:
        network.compile()  # in place: torch.compile(network) would rename every key of the checkpoint
    return task


def _try_optimizer(network: nn.Module, optimizer: Callable[..., Any], scheduler: Callable[..., Any]) -> None:
    """Call both once, since they are built by Lightning only after the run folder was made."""
    try:
        built = optimizer(network.parameters())
        scheduler(built, total_steps=1, steps_per_epoch=1)
    except (ValueError, TypeError) as error:
        raise ConfigError([f"optim, scheduler: {error}"]) from None

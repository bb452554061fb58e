"""What a person reads when a training starts."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only

from unet_exp.budget import describe_budget
from unet_exp.cost import NetworkCost
from unet_exp.data._datamodule import SegmentationDataModule
from unet_exp.data._sampling import share_of_batch
from unet_exp.errors import counted
from unet_exp.run.console import print_table
from unet_exp.run.environment import device_name
from unet_exp.run.folder import RunFolder
from unet_exp.run.identity import model_name


@rank_zero_only
def print_start(
    folder: RunFolder,
    names: Mapping[str, str],
    config: Mapping[str, Any],
    cost: NetworkCost,
    datamodule: SegmentationDataModule,
    trainer: Trainer,
) -> None:
    """Print network, cost, data and device of a training.

    Args:
        folder: Its run folder.
        names: Chosen option of the groups model, data and loss; of arm and recipe in a study.
        config: The plain, resolved configuration.
        cost: Of the network, at the size of the training samples.
        datamodule: The data.
        trainer: The trainer.
    """
    split, size = datamodule.split, datamodule.source.sample_size
    called = model_name(names)
    network = called if called == names["model"] else f"{called} ({names['model']})"
    share, budget = samples_per_device(config, trainer), describe_budget(config)
    rows = [
        (
            "model",
            f"{network}: {cost.parameters:,} parameters, {cost.gmacs:.3g} GMACs at {size[0]}x{size[1]}",
        ),
        *([("budget", budget)] if budget else ()),
        ("memory", f"about {cost.training_memory_mb(share):,.0f} MiB for a step of {counted(share, 'sample')}"),
        ("data", f"{names['data']}: {split.counts} images ({split.scheme})"),
        ("loss", names["loss"]),
        (
            "device",
            f"{device_name(trainer.strategy.root_device)} x {trainer.world_size}, {trainer.precision}",
        ),
        ("run folder", folder.path),
    ]
    print_table("Training", rows)


def samples_per_device(config: Mapping[str, Any], trainer: Trainer) -> int:
    """Samples of a training step on each device."""
    return share_of_batch(config["loader"]["batch_size"], trainer.world_size)

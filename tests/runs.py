"""Tiny trainings for the tests."""

from pathlib import Path

from unet_exp.config import compose_config
from unet_exp.run.folder import RunFolder
from unet_exp.training import train

NAMES = {"model": "unet", "data": "bcss", "loss": "dice_ce"}


def tiny(root: Path, output: Path, *overrides: str, data: str = "bcss") -> list[str]:
    """Overrides of a training that takes seconds."""
    size = (
        ["data.patch_size=32", "data.patches_per_epoch=32", "data.mpp=0.5"]
        if data == "bcss"
        else ["data.image_size=32"]
    )
    return [
        f"data={data}",
        f"data.root={root}",
        f"output_folder={output}",
        *size,
        "model=unet",
        "model.base_channels=4",
        "model.depth=2",
        "loader.batch_size=4",
        "loader.num_workers=0",
        "trainer=cpu",
        "trainer.max_epochs=2",
        "trainer.enable_progress_bar=false",
        *overrides,
    ]


def run(overrides: list[str], names: dict[str, str] = NAMES) -> RunFolder:
    """Train in this process."""
    return RunFolder(train(compose_config("train", overrides), names=names, overrides=overrides))

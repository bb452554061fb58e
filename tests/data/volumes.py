"""What the tests of volumes share: the configured dataset, and reading by nibabel's own means."""

import copy
from functools import cache
from pathlib import Path

import nibabel
import numpy as np

from unet_exp.build import build_datamodule
from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.data.lits import LiTS


@cache  # composing takes longer than most of what is tested here
def _checked(*overrides: str) -> dict:
    common = ["data=lits", "augmentation=light", "loader.num_workers=0", "loader.batch_size=4"]
    return check_train_config(compose_config("train", [*common, *overrides]))


def config(root: Path, *overrides: str, **changes: str) -> dict:
    plain = {**copy.deepcopy(_checked(*overrides)), **changes}
    plain["data"]["root"] = str(root)
    return plain


def source(root: Path, *overrides: str) -> LiTS:
    return build_datamodule(config(root, *overrides)).source


def canonical(path: Path) -> np.ndarray:
    """Values (Z, H, W) by nibabel's own means: to RAS+, then rows to the back and columns to the left."""
    values = nibabel.as_closest_canonical(nibabel.load(path)).get_fdata()
    return np.flip(np.squeeze(values).transpose(2, 1, 0), (1, 2))


def windowed(values: np.ndarray, low: float = -200, high: float = 200) -> np.ndarray:
    return np.round((np.clip(values, low, high) - low) / (high - low) * 255).astype(np.uint8)

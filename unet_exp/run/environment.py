"""What a run was made with: versions, commit, command line, machine."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from unet_exp import __version__

_PACKAGES = (
    "torch",
    "lightning",
    "hydra-core",
    "omegaconf",
    "torchmetrics",
    "albumentations",
    "opencv-python-headless",
    "numpy",
    "wandb",
)


def describe_environment(overrides: Sequence[str], device: torch.device) -> dict[str, Any]:
    """Everything environment.json holds.

    Args:
        overrides: The command-line overrides; a resumed run starts from them.
        device: Where the network runs.
    """
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "overrides": list(overrides),
        "unet_exp": __version__,
        "git": _git_state(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "device": device_name(device),
        "cuda": torch.version.cuda,
    }


def device_name(device: torch.device) -> str:
    """The device in words a person recognises."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device.type)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    """Commit of the source tree, and whether it has uncommitted changes; None outside a checkout."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

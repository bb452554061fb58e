"""Networks ready to predict, and how: from run folders, or from bundles."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from unet_exp.errors import ConfigError, UserError
from unet_exp.inference import SlidingWindow, common_inference
from unet_exp.inference._predictor import Network
from unet_exp.locations import CONFIG_FOLDER
from unet_exp.prediction.description import ModelDescription
from unet_exp.prediction.settings import PredictSettings, as_list, as_paths
from unet_exp.signature import call_mistakes, did_you_mean

_CHANGES_NO_RESULT = ("batch_size",)


@dataclass(frozen=True)
class TrainedModel:
    """Networks whose probabilities are averaged, and what they expect.

    Args:
        description: What they expect and what their outputs mean.
        networks: Each takes bytes (n, C, h, w) and gives logits (n, K, h, w).
        identity: Equal for equal networks.
    """

    description: ModelDescription
    networks: Sequence[Network]
    identity: str

    def engine(self) -> SlidingWindow:
        """How windows are predicted.

        Raises:
            ConfigError: If the values of `inference` do not fit together.
        """
        try:
            return SlidingWindow(**self.description.inference)
        except ValueError as error:
            raise ConfigError([f"inference: {error}"]) from None

    def hash(self, *others: object) -> str:
        """Equal where the same is predicted of the same image; `others` are what else that depends on."""
        how = {k: v for k, v in sorted(self.description.inference.items()) if k not in _CHANGES_NO_RESULT}
        return hashlib.sha256(repr((self.identity, how, *others)).encode()).hexdigest()[:16]


def load_model(settings: PredictSettings, device: torch.device) -> TrainedModel:
    """Load what `run` or `bundle` names.

    Raises:
        UserError: If a folder is none, is damaged, or if the networks were not trained for one task.
    """
    if settings.bundle:
        from unet_exp.bundle.loading import load_bundle

        members = [load_bundle(folder, device=str(device)) for folder in as_paths(settings.bundle)]
    else:
        from unet_exp.prediction.from_run import load_run  # imports Hydra

        checkpoints: list[str | None] = [*as_list(settings.checkpoint)] or [None]
        members = [load_run(folder, name, device) for folder in as_paths(settings.run) for name in checkpoints]
    first = members[0][0]
    for description, _, _ in members[1:]:
        if not first.same_task(description):
            raise UserError(
                f"run: {first.name} and {description.name} cannot be averaged: they differ in classes, resolution "
                "(µm per pixel, image size) or channels."
            )
    together = common_inference(first.inference, [one.inference for one, _, _ in members[1:]])
    inference = change_inference(together, settings.inference)
    identity = "+".join(identity for _, _, identity in members)
    return TrainedModel(replace(first, inference=inference), [network for _, network, _ in members], identity)


def choose_device(name: str) -> torch.device:
    """The device to compute on.

    Raises:
        ConfigError: If there is none of that name.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError([f"device: {name!r} cannot be used ({reason}). Use device=cpu or device=auto."]) from None
    return device


def change_inference(trained: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """How the run predicts, with the values of a file of conf/inference and single values on top.

    Args:
        trained: Arguments of `SlidingWindow`.
        changes: By name; the empty name stands for the file.

    Raises:
        ConfigError: If there is no such file, name or value.
    """
    named = changes.get("")
    chosen = {**trained, **(_read_named(str(named)) if named else {}), **{k: v for k, v in changes.items() if k}}
    mistakes = list(call_mistakes("inference", SlidingWindow, chosen))
    if mistakes:
        raise ConfigError(mistakes)
    return chosen


def _read_named(name: str) -> dict[str, Any]:
    """Values of conf/inference/<name>.yaml and the files it starts from; references to the dataset stay the run's."""
    folder = Path(CONFIG_FOLDER) / "inference"
    file = folder / f"{name}.yaml"
    if not file.is_file():
        known = sorted(path.stem for path in folder.glob("*.yaml"))
        raise ConfigError([f"inference: there is no {name!r}. {did_you_mean(name, known, otherwise='There are')}"])
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    started = [_read_named(base) for base in content.pop("defaults", []) if base != "_self_"]
    own = {key: value for key, value in content.items() if key != "_target_" and "${" not in str(value)}
    return {key: value for values in (*started, own) for key, value in values.items()}

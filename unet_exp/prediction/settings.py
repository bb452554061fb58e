"""What `python -m unet_exp.predict` may be asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unet_exp.bounds import PositiveFloat

Checkpoint = Literal["best", "last"]
Saved = Literal["labels", "overlay", "probabilities", "pyramid", "geojson", "areas"]


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """The keys of predict.yaml.

    Args:
        run: Run folders whose networks are averaged.
        bundle: Or folders written by `unet_exp.export`.
        checkpoint: Which checkpoints of the runs; None: of each the one that its training has scored.
        input: Images, folders or globs.
        output: Folder of the results.
        save: What is written of each image; None takes what suits its kind.
        input_mpp: Micrometres per pixel of the images; None takes what the files say.
        device: Where it is computed.
        continue_: Whether to go on in an output folder that holds results.
        inference: Changes of how windows are predicted: a name of conf/inference, or single values.
    """

    run: str | Sequence[str] | None
    bundle: str | Sequence[str] | None
    checkpoint: Checkpoint | Sequence[Checkpoint] | None
    input: str | Sequence[str]
    output: str
    save: Sequence[Saved] | None
    input_mpp: PositiveFloat | None
    device: str
    continue_: bool
    inference: Mapping[str, Any]


def as_list(value: str | Sequence[str] | None) -> list[str]:
    """One, several or none, as a list."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def as_paths(value: str | Sequence[str] | None) -> list[Path]:
    """One, several or no folder."""
    return [Path(one).expanduser() for one in as_list(value)]

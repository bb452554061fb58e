"""What a run was trained and scored on, in words: its dataset, split and preprocessing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unet_exp.reporting.cross_validation import cross_validation_hash, cross_validation_scheme, divided_cases
from unet_exp.reporting.evaluations import PARTS
from unet_exp.reporting.runs import Run, printable, target_name

Facts = list[tuple[str, str]]

_GENERIC = ("folder", "nnunet")
"""Readers of any dataset: what it is called is the name of its folder."""


def dataset_name(config: Mapping[str, Any]) -> str:
    """Name of the dataset, as `data=` has it: the reader, and its year, or the folder of one's own images."""
    data = config.get("data") or {}
    module = str(data.get("_target_", "unknown")).split(".")
    name = module[-2] if len(module) > 1 else module[0]
    if name in _GENERIC:
        name = f"{name} {Path(str(data.get('root', ''))).name}"
    year = "" if name.endswith("_demo") else data.get("year", "")  # generated in the layout of that year, no more
    return printable(f"{name}{year}")


def split_facts(run: Run) -> Facts:
    """How the data was divided, and how many images every part has."""
    counts = [(part, len(run.split.get(part) or [])) for part in reversed(PARTS)]
    return [
        ("split", f"{run.split.get('scheme', 'unknown')} (hash {run.split['hash']})"),
        *((f"images for {_PURPOSE[part]}", f"{count:,}") for part, count in counts if count),
    ]


def cross_validation_facts(run: Run) -> Facts:
    """How a cross-validation divided the data, and how many images it divides; `run` is one of its folds."""
    count = len(divided_cases(run))
    return [
        ("split", f"{cross_validation_scheme(run)} (hash {cross_validation_hash(run)})"),
        (
            "images divided",
            f"{count:,}, of which each fold holds out about {count / run.folds:,.0f}",
        ),
    ]


_PURPOSE = {"train": "training", "val": "validation", "test": "testing"}


def preprocessing_facts(run: Run) -> Facts:
    """What happens to an image before the network sees it, from the run's configuration."""
    data, loader = run.config.get("data") or {}, run.config.get("loader") or {}
    facts: Facts = []
    if data.get("mpp"):
        facts.append(("resolution", f"{_listed(data['mpp'])} µm per pixel"))
    if data.get("image_size"):
        facts.append(("size", f"images are resized to {_size(data['image_size'])} pixels"))
    if data.get("patch_size"):
        patches = data.get("patches_per_epoch")
        number = f", {patches:,} per epoch" if isinstance(patches, int) else ""
        facts.append(("training samples", f"patches of {_size(data['patch_size'])} pixels{number}"))
    if data.get("mean") and data.get("std"):
        facts.append(("normalisation", f"mean {_listed(data['mean'])}; standard deviation {_listed(data['std'])}"))
    if data.get("ignore_codes"):
        facts.append(("not counted", f"pixels with the codes {_listed(data['ignore_codes'])} in the mask files"))
    facts.append(("augmentation", ", ".join(_transforms(run.config.get("augmentation"))) or "none"))
    if loader.get("batch_size"):
        facts.append(("batch size", str(loader["batch_size"])))
    return facts


def class_facts(config: Mapping[str, Any]) -> list[tuple[str, str, str, bool]]:
    """Name, colour (``#rrggbb``), codes in the mask files, and whether it is scored, of every class."""
    classes = (config.get("data") or {}).get("classes") or {}
    return [
        (
            printable(str(name)),
            _hexadecimal(description.get("color")),
            _listed(description.get("codes") or []),
            bool(description.get("scored", True)),
        )
        for name, description in classes.items()
        if isinstance(description, Mapping)
    ]


def _transforms(block: Any) -> list[str]:
    """Names of the steps of an augmentation, with their probability where it is not certain."""
    steps = block.get("transforms") if isinstance(block, Mapping) else None
    names = []
    for step in steps if isinstance(steps, list) else []:
        chance = step.get("p", 1.0) if isinstance(step, Mapping) else 1.0
        names.append(target_name(step) + (f" (p = {chance:g})" if chance != 1 else ""))
    return names


def _hexadecimal(color: Any) -> str:
    valid = isinstance(color, Sequence) and len(color) == 3 and all(isinstance(c, int) and 0 <= c < 256 for c in color)
    return "#{:02x}{:02x}{:02x}".format(*color) if valid else "#808080"


def _listed(values: Any) -> str:
    return printable(", ".join(map(str, values)) if isinstance(values, list) else str(values))


def _size(value: Any) -> str:
    sides = value if isinstance(value, list) else [value, value]
    return printable(" × ".join(map(str, sides)))

"""Sections of the report: runs that may be compared, because dataset, classes and split are the same."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unet_exp.errors import ConfigError
from unet_exp.reporting.comparison import Entry, Result, compare_models
from unet_exp.reporting.datasets import dataset_name
from unet_exp.reporting.evaluations import PARTS, Evaluation
from unet_exp.reporting.models import Model, group_models, set_repeats_aside
from unet_exp.reporting.runs import Inventory, LeftOut, Run
from unet_exp.reporting.settings import ReportSettings
from unet_exp.reporting.text import PART_NAMES


@dataclass(frozen=True, order=True)
class Place:
    """What runs must share to be compared.

    Args:
        label: Empty for the evaluations that end trainings, else the folder of a later evaluation.
        dataset: Name of the dataset.
        classes: Names of the scored classes.
        split_hash: Hash of the split that was trained on.
    """

    label: str
    dataset: str
    classes: tuple[str, ...]
    split_hash: str


@dataclass(frozen=True)
class Section:
    """One comparison.

    Args:
        place: What its runs share.
        part: The part that they are compared on.
        other_splits: Hashes of the other splits of this dataset in the report, whose runs are not compared with these.
        result: Models in their order, and the answers.
    """

    place: Place
    part: str
    other_splits: Sequence[str]
    result: Result

    @property
    def entries(self) -> list[Entry]:
        """The models, the best first."""
        return [standing.entry for standing in self.result.standings]

    @property
    def heading(self) -> str:
        """Dataset and part, and what tells the section from others."""
        words = [self.place.dataset, f"{PART_NAMES[self.part]} part"]
        if self.place.label:
            words.append(f"scored again: {self.place.label}")
        if self.other_splits:
            words.append(f"split {self.place.split_hash}")
        return ", ".join(words)


def make_sections(inventory: Inventory, settings: ReportSettings) -> list[Section]:
    """Divide the runs into sections and compare the models of each.

    Args:
        inventory: The runs; those without the part that is compared, and repeats of a seed, are moved to what is left
            out.
        settings: What is compared.

    Raises:
        ConfigError: If no model is called like the baseline.
    """
    inventory.runs, repeats = set_repeats_aside(inventory.runs)
    inventory.left_out += repeats
    groups: dict[Place, list[tuple[Run, dict[str, Evaluation]]]] = defaultdict(list)
    for run in inventory.runs:
        for place, parts in _places(run).items():
            groups[place].append((run, parts))
    models = group_models(inventory.runs)
    names = [model.name for model in models]
    if settings.baseline is not None and settings.baseline not in names:
        raise ConfigError([f"baseline: no model is called {settings.baseline!r}; there are {', '.join(names)}."])
    sections = []
    for place in sorted(groups):
        part = _choose_part(groups[place], settings.part)
        scored = {run.path: parts[part] for run, parts in groups[place] if part in parts}
        for run, parts in groups[place]:
            if part not in parts and not place.label:
                inventory.left_out.append(LeftOut(run.path, f"not scored on {part}; run: {_evaluate(run, part)}"))
        entries = _entries(models, scored)
        if entries:
            others = [p.split_hash for p in groups if replace(p, split_hash="") == replace(place, split_hash="")]
            others.remove(place.split_hash)
            sections.append(Section(place, part, others, compare_models(entries, settings)))
    return sections


def _places(run: Run) -> dict[Place, dict[str, Evaluation]]:
    """Every place where a run was scored, with the evaluation of each part."""
    found: dict[Place, dict[str, Evaluation]] = defaultdict(dict)
    for evaluation in run.evaluations:
        # A part of the run's own data, scored again, replaces what the training had written.
        label = "" if evaluation.label in PARTS else evaluation.label
        classes = tuple(evaluation.scored_classes)
        found[Place(label, dataset_name(run.config), classes, run.split["hash"])][evaluation.part] = evaluation
    return found


def _choose_part(group: Sequence[tuple[Run, Mapping[str, Evaluation]]], wanted: str) -> str:
    if wanted != "auto":
        return wanted
    present = {part for _, parts in group for part in parts}
    return next(part for part in PARTS if part in present)


def _entries(models: Sequence[Model], scored: Mapping[Path, Evaluation]) -> list[Entry]:
    entries = []
    for model in models:
        runs = [run for run in model.runs if run.path in scored]
        if runs:
            entries.append(Entry(replace(model, runs=runs), [scored[run.path] for run in runs]))
    return entries


def _evaluate(run: Run, part: str) -> str:
    return f"python -m unet_exp.evaluate run={run.path} split={part}"

"""Sections of the report: runs that may be compared, because dataset, classes and split are the same."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unet_exp.errors import ConfigError
from unet_exp.reporting.comparison import Entry, Result, compare_models
from unet_exp.reporting.cross_validation import HELD_OUT, cross_validation_hash
from unet_exp.reporting.datasets import dataset_name
from unet_exp.reporting.evaluations import PARTS, Evaluation
from unet_exp.reporting.folds import pooled_entry
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
        split_hash: Hash of the split that was trained on; of a cross-validation that of all its folds.
        folds: Number of folds whose held-out parts are scored as one, 0 where each run is scored by itself.
    """

    label: str
    dataset: str
    classes: tuple[str, ...]
    split_hash: str
    folds: int = 0


@dataclass(frozen=True)
class Section:
    """One comparison.

    Args:
        place: What its runs share.
        part: The part that they are compared on.
        other_splits: Hashes of the other splits of this dataset in the report, whose runs are not compared with these.
        result: Models in their order, and the answers.
        notes: What of the section's models is not in it, and why.
    """

    place: Place
    part: str
    other_splits: Sequence[str]
    result: Result
    notes: Sequence[str] = ()

    @property
    def entries(self) -> list[Entry]:
        """The models, the best first."""
        return [standing.entry for standing in self.result.standings]

    @property
    def heading(self) -> str:
        """Dataset and part, and what tells the section from others."""
        part = f"{self.place.folds}-fold cross-validation" if self.place.folds else f"{PART_NAMES[self.part]} part"
        words = [self.place.dataset, part]
        if self.place.label:
            words.append(f"scored again: {self.place.label}")
        if self.other_splits:
            words.append(f"split {self.place.split_hash}")
        return ", ".join(words)


def make_sections(inventory: Inventory, settings: ReportSettings) -> list[Section]:
    """Divide the runs into sections and compare the models of each.

    Folds of a cross-validation are pooled: their held-out parts are one evaluation.

    Args:
        inventory: The runs; those without the part that is compared, repeats of a seed, and seeds without all their
            folds are moved to what is left out.
        settings: What is compared.

    Raises:
        ConfigError: If no model is called like the baseline.
    """
    inventory.runs, repeats = set_repeats_aside(inventory.runs)
    inventory.left_out += repeats
    groups: dict[Place, list[tuple[Run, dict[str, Evaluation]]]] = defaultdict(list)
    for run in inventory.runs:
        for place, parts in _places(run, settings.part).items():
            groups[place].append((run, parts))
    models = group_models(inventory.runs)
    names = [model.name for model in models]
    if settings.baseline is not None and settings.baseline not in names:
        raise ConfigError([f"baseline: no model is called {settings.baseline!r}; there are {', '.join(names)}."])
    sections = []
    for place in sorted(groups):
        part = HELD_OUT if place.folds else _choose_part(groups[place], settings.part)
        scored = {run.path: parts[part] for run, parts in groups[place] if part in parts}
        for run, parts in groups[place]:
            if part not in parts and not place.label:
                inventory.left_out.append(LeftOut(run.path, f"not scored on {part}; run: {_evaluate(run, part)}"))
        entries, notes, incomplete = _entries(models, scored, pooled=bool(place.folds))
        inventory.left_out += incomplete
        if entries:
            sections.append(Section(place, part, _others(place, groups), compare_models(entries, settings), notes))
    return sections


def _others(place: Place, places: Iterable[Place]) -> list[str]:
    """Hashes of the other splits of the same dataset."""
    here = replace(place, split_hash="", folds=0)
    return [p.split_hash for p in places if p != place and replace(p, split_hash="", folds=0) == here]


def _places(run: Run, part: str) -> dict[Place, dict[str, Evaluation]]:
    """Every place where a run was scored, with the evaluation of each part."""
    found: dict[Place, dict[str, Evaluation]] = defaultdict(dict)
    for evaluation in run.evaluations:
        # A part of the run's own data, scored again, replaces what the training had written.
        label = "" if evaluation.label in PARTS else evaluation.label
        place = Place(label, dataset_name(run.config), tuple(evaluation.scored_classes), run.split["hash"])
        if run.fold is not None and not label and part in ("auto", HELD_OUT):
            place = replace(place, split_hash=cross_validation_hash(run), folds=run.folds)
        found[place][evaluation.part] = evaluation
    return found


def _choose_part(group: Sequence[tuple[Run, Mapping[str, Evaluation]]], wanted: str) -> str:
    if wanted != "auto":
        return wanted
    present = {part for _, parts in group for part in parts}
    return next(part for part in PARTS if part in present)


def _entries(
    models: Sequence[Model], scored: Mapping[Path, Evaluation], *, pooled: bool
) -> tuple[list[Entry], list[str], list[LeftOut]]:
    """The models that were scored; what is to be said of seeds that are left out, and their runs."""
    entries, notes, left_out = [], [], []
    for model in models:
        own = [(run, scored[run.path]) for run in model.runs if run.path in scored]
        if not own:
            continue
        if not pooled:
            entries.append(Entry(replace(model, runs=[run for run, _ in own]), [evaluation for _, evaluation in own]))
            continue
        entry, problems = pooled_entry(model, own)
        entries.append(entry)
        notes += [f"Seed {seed} of {model.name} is left out: {problem}." for seed, problem in problems.items()]
        left_out += [
            LeftOut(run.path, f"{problems[run.seed]}, so its seed is not pooled")
            for run, _ in own
            if run.seed in problems
        ]
    return entries, notes, left_out


def _evaluate(run: Run, part: str) -> str:
    return f"python -m unet_exp.evaluate run={run.path} split={part}"

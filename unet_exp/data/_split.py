"""Splits into training, validation and test cases that share no patient."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Interval

from unet_exp.bounds import NonNegativeInt
from unet_exp.data._case import Case, Part
from unet_exp.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class SplitSpec:
    """How cases are divided. The official test cases are never trained or validated on.

    Args:
        scheme: `official`: the dataset's own; `holdout`: a seeded share of the non-test groups validates;
            `kfold`: one of `folds` seeded parts of the non-test groups validates; `auto`: official where
            its validation cases are present, else holdout.
        group: What must not be torn apart by holdout and kfold.
        validation_fraction: Share of the groups held out by `holdout`.
        test_fraction: 0: the official test cases are the test part. Otherwise `holdout` draws that share of
            the training groups for it, and leaves the official validation and test cases unused, as studies
            do that know only the training set.
        folds: Number of parts of `kfold`.
        fold: Which part validates, 0 to folds - 1.
        seed: Seed of the shuffle; part of the data, not of the training seed.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - read by the configuration check

    scheme: Literal["official", "holdout", "kfold", "auto"] = "official"
    group: Literal["patient", "institution"] = "patient"
    validation_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.2
    test_fraction: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    folds: Annotated[int, Ge(2)] = 5
    fold: NonNegativeInt = 0
    seed: NonNegativeInt = 0


@dataclass(frozen=True)
class Split:
    """The cases of each part, sorted by id.

    Args:
        scheme: In words, how the split was made.
        train: Cases to train on.
        val: Cases that choose the checkpoint.
        test: Cases that are scored once, at the end.

    Raises:
        DataError: If a patient is in two parts.
    """

    scheme: str
    train: tuple[Case, ...]
    val: tuple[Case, ...]
    test: tuple[Case, ...]

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for part in ("train", "val", "test"):
            for case in self.cases(part):
                if seen.setdefault(case.patient, part) != part:
                    raise DataError(
                        f"Patient {case.patient} is in both the {seen[case.patient]} and the {part} part of the "
                        "split: scores would flatter. Rename the files, or split by group (data.split.group)."
                    )

    def cases(self, part: str) -> tuple[Case, ...]:
        """Cases of one part, ``train``, ``val`` or ``test``."""
        return {"train": self.train, "val": self.val, "test": self.test}[part]

    def require(self, *parts: str) -> None:
        """Make sure that parts hold cases.

        Raises:
            ConfigError: If one is empty; training needs `train` and `val`, scoring what it scores.
        """
        for part in parts:
            if not self.cases(part):
                counts = ", ".join(f"{len(self.cases(name))} {name}" for name in ("train", "val", "test"))
                raise ConfigError(
                    [
                        f"data.split: there is no {part} case in this split ({self.scheme}: {counts}). "
                        "Use data.split.scheme=kfold or holdout, or other files."
                    ]
                )

    def description(self) -> dict[str, Any]:
        """What split.json holds: the ids of each part, and a hash over them."""
        ids = {part: [case.id for case in self.cases(part)] for part in ("train", "val", "test")}
        digest = hashlib.sha256(json.dumps(ids, sort_keys=True).encode()).hexdigest()
        return {"scheme": self.scheme, "hash": digest[:16], **ids}


def make_split(cases: Sequence[Case], spec: SplitSpec) -> Split:
    """Divide cases as `spec` says.

    Raises:
        ConfigError: If the split cannot be made, e.g. more folds than groups.
    """
    ordered = sorted(cases, key=lambda case: case.id)
    scheme = spec.scheme
    if scheme == "auto":
        scheme = "official" if any(case.part == "val" for case in ordered) else "holdout"
    if scheme == "official":
        return _assemble("official", ordered, lambda case: case.part)
    if scheme == "kfold":
        return _kfold(ordered, spec)
    return _holdout(ordered, spec)


def _holdout(cases: list[Case], spec: SplitSpec) -> Split:
    own_test = spec.test_fraction > 0
    if own_test:
        cases = [case for case in cases if case.part == "train"]
    groups = _shuffled_groups(cases, spec)
    val_count = max(1, round(spec.validation_fraction * len(groups)))
    test_count = max(1, round(spec.test_fraction * len(groups))) if own_test else 0
    words = f"holdout of {spec.validation_fraction:g}"
    if own_test:
        words += f" and {spec.test_fraction:g} of the training cases for test"
    held_out = set(groups[:val_count])
    test = set(groups[val_count : val_count + test_count])
    return _assemble(
        f"{words} by {spec.group}, seed {spec.seed}",
        cases,
        lambda case: _part(case, spec, held_out, test),
    )


def _kfold(cases: list[Case], spec: SplitSpec) -> Split:
    groups = _shuffled_groups(cases, spec)
    if spec.folds > len(groups):
        raise ConfigError(
            [f"data.split.folds: {spec.folds} folds but only {len(groups)} {spec.group} groups; use fewer folds."]
        )
    if spec.fold >= spec.folds:
        raise ConfigError([f"data.split.fold: must be below data.split.folds = {spec.folds}, got {spec.fold}."])
    held_out = set(groups[spec.fold :: spec.folds])
    words = f"fold {spec.fold} of {spec.folds} by {spec.group}, seed {spec.seed}"
    return _assemble(words, cases, lambda case: _part(case, spec, held_out, set()))


def _shuffled_groups(cases: Sequence[Case], spec: SplitSpec) -> list[str]:
    groups = sorted({_group(case, spec) for case in cases if case.part != "test"})
    return [groups[i] for i in np.random.default_rng(spec.seed).permutation(len(groups))]


def _part(case: Case, spec: SplitSpec, held_out: set[str], test: set[str]) -> Part:
    group = _group(case, spec)
    if case.part == "test" or group in test:
        return "test"
    return "val" if group in held_out else "train"


def _group(case: Case, spec: SplitSpec) -> str:
    return case.institution if spec.group == "institution" else case.patient


def _assemble(words: str, cases: Sequence[Case], part_of: Callable[[Case], str]) -> Split:
    parts: dict[str, list[Case]] = {"train": [], "val": [], "test": []}
    for case in cases:
        parts[part_of(case)].append(case)
    return Split(words, tuple(parts["train"]), tuple(parts["val"]), tuple(parts["test"]))

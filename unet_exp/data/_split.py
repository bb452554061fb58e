"""Splits into training, validation and test cases that share no patient."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval

from unet_exp.bounds import NonNegativeInt
from unet_exp.data._case import Case, Part
from unet_exp.data._stratify import divide
from unet_exp.errors import ConfigError, DataError

PARTS: tuple[Part, ...] = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class SplitSpec:
    """How cases are divided. The official test cases are never trained or validated on.

    Args:
        scheme: `official`: the dataset's own; `holdout`: a seeded share of the non-test groups validates;
            `kfold`: one of `folds` seeded parts of the non-test groups validates; `auto`: official where
            its validation cases are present, else holdout.
        group: What must not be torn apart by holdout and kfold: images of a `patient` or an `institution`; `content`:
            of a patient, and images that look alike, such as two shots of one lesion.
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
    group: Literal["patient", "institution", "content"] = "patient"
    validation_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.2
    test_fraction: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    stratify: bool = True
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
        DataError: If a patient, or an image of the same pixels, is in two parts.
    """

    scheme: str
    train: tuple[Case, ...]
    val: tuple[Case, ...]
    test: tuple[Case, ...]

    def __post_init__(self) -> None:
        patients: dict[str, str] = {}
        images: dict[str, tuple[str, str]] = {}
        for part in PARTS:
            for case in self.cases(part):
                if patients.setdefault(case.patient, part) != part:
                    raise DataError(
                        f"Patient {case.patient} is in both the {patients[case.patient]} and the {part} part of the "
                        "split: scores would flatter. Rename the files, or split by group (data.split.group)."
                    )
                twin, where = images.setdefault(case.content or case.id, (case.id, part))
                if where != part:
                    raise DataError(
                        f"{twin} in the {where} part and {case.id} in the {part} part of the split are the same "
                        "image: scores would flatter. Remove one, or let data.split.scheme=holdout keep them together."
                    )

    def cases(self, part: str) -> tuple[Case, ...]:
        """Cases of one part, ``train``, ``val`` or ``test``."""
        return {"train": self.train, "val": self.val, "test": self.test}[part]

    @property
    def counts(self) -> str:
        """How many cases each part has, in words."""
        return ", ".join(f"{len(self.cases(part))} {part}" for part in PARTS)

    def require(self, *parts: str) -> None:
        """Make sure that parts hold cases.

        Raises:
            ConfigError: If one is empty; training needs `train` and `val`, scoring what it scores.
        """
        for part in parts:
            if not self.cases(part):
                raise ConfigError(
                    [
                        f"data.split: there is no {part} case in this split ({self.scheme}: {self.counts}). "
                        "Use data.split.scheme=kfold or holdout, or other files."
                    ]
                )

    def description(self) -> dict[str, Any]:
        """What split.json holds: the ids of each part, a hash of each image's pixels, and a hash over all of it.

        Where images were compared, also the ids in each group of images that look alike.
        """
        ids: dict[str, list[str]] = {part: [case.id for case in self.cases(part)] for part in PARTS}
        contents = {case.id: case.content for part in PARTS for case in self.cases(part) if case.content}
        digest = hashlib.sha256(json.dumps([ids, contents], sort_keys=True).encode()).hexdigest()
        described = {"scheme": self.scheme, "hash": digest[:16], **ids, "contents": contents}
        return described | ({"alike": self._alike()} if any(case.alike for case in self.train) else {})

    def _alike(self) -> list[list[str]]:
        groups: dict[str, list[str]] = {}
        for case in sorted((case for part in PARTS for case in self.cases(part)), key=lambda case: case.id):
            groups.setdefault(case.alike, []).append(case.id)
        return [group for group in groups.values() if len(group) > 1]


def make_split(cases: Sequence[Case], spec: SplitSpec) -> Split:
    """Divide cases as `spec` says.

    Raises:
        ConfigError: If the split cannot be made, e.g. more folds than groups.
        DataError: If a patient, or an image of the same pixels, would be in two parts.
    """
    scheme, parts = assign_parts(cases, spec)
    ordered = sorted(cases, key=lambda case: case.id)
    train, val, test = (tuple(case for case in ordered if parts.get(case.id) == part) for part in PARTS)
    return Split(scheme, train, val, test)


def assign_parts(cases: Sequence[Case], spec: SplitSpec) -> tuple[str, dict[str, Part]]:
    """How the split is made, in words, and the part of every case that is used; not checked for leaks.

    Raises:
        ConfigError: If the split cannot be made, e.g. more folds than groups.
    """
    scheme = spec.scheme
    if scheme == "auto":
        scheme = "official" if any(case.part == "val" for case in cases) else "holdout"
    if scheme == "official":
        return "official", {case.id: case.part for case in cases}
    if scheme == "kfold":
        return _kfold(cases, spec)
    return _holdout(cases, spec)


def _holdout(cases: Sequence[Case], spec: SplitSpec) -> tuple[str, dict[str, Part]]:
    shares: dict[Part, float] = {"train": 1 - spec.validation_fraction, "val": spec.validation_fraction}
    words = f"holdout of {spec.validation_fraction:g}"
    if spec.test_fraction:
        words += f" and {spec.test_fraction:g} of the training cases for test"
        shares = {**shares, "train": shares["train"] - spec.test_fraction, "test": spec.test_fraction}
        cases = [case for case in cases if case.part == "train"]
        if shares["train"] <= 0:
            raise ConfigError(["data.split: validation_fraction and test_fraction leave nothing to train on."])
    chosen = _divide(cases, list(shares.values()), spec)
    names = list(shares)
    return f"{words} by {spec.group}, seed {spec.seed}", _parts(cases, {id: names[i] for id, i in chosen.items()})


def _kfold(cases: Sequence[Case], spec: SplitSpec) -> tuple[str, dict[str, Part]]:
    count = len(_groups(cases, spec))
    if spec.folds > count:
        raise ConfigError(
            [f"data.split.folds: {spec.folds} folds but only {count} {spec.group} groups; use fewer folds."]
        )
    if spec.fold >= spec.folds:
        raise ConfigError([f"data.split.fold: must be below data.split.folds = {spec.folds}, got {spec.fold}."])
    chosen = _divide(cases, [1 / spec.folds] * spec.folds, spec)
    words = f"fold {spec.fold} of {spec.folds} by {spec.group}, seed {spec.seed}"
    return words, _parts(cases, {id: "val" if fold == spec.fold else "train" for id, fold in chosen.items()})


def _parts(cases: Sequence[Case], chosen: Mapping[str, Part]) -> dict[str, Part]:
    """The official test cases stay what they are."""
    return {case.id: chosen.get(case.id, "test") for case in cases}


def _divide(cases: Sequence[Case], shares: Sequence[float], spec: SplitSpec) -> dict[str, int]:
    """Number of the share that each non-test case falls to."""
    groups = _groups(cases, spec)
    features = [[case.class_pixels if spec.stratify else () for case in group] for group in groups]
    chosen = divide(features, shares, seed=spec.seed)
    return {case.id: share for group, share in zip(groups, chosen, strict=True) for case in group}


def _groups(cases: Sequence[Case], spec: SplitSpec) -> list[list[Case]]:
    """Non-test cases that must stay together: of one patient or institution, or with the same or alike images."""
    groups: dict[str, list[Case]] = {}
    first: dict[tuple[str, str], str] = {}
    for case in sorted(cases, key=lambda case: case.id):
        if case.part == "test":
            continue
        name = case.institution if spec.group == "institution" else case.patient
        members = groups.setdefault(name, [])
        members.append(case)
        ties = [("content", case.content or case.id)]
        if spec.group == "content":
            ties.append(("alike", case.alike or case.id))
        for tie in ties:
            twin = first.setdefault(tie, name)
            if groups[twin] is not groups[name]:
                _merge(groups, twin, name)
    return list({id(members): members for members in groups.values()}.values())


def _merge(groups: dict[str, list[Case]], first: str, second: str) -> None:
    kept, moved = groups[first], groups[second]
    kept.extend(moved)
    for name, members in groups.items():
        if members is moved:
            groups[name] = kept

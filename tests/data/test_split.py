"""Splits: disjoint, seeded, complete; what cannot be made is explained."""

from pathlib import Path

import pytest

from unet_exp.data._case import Case
from unet_exp.data._split import Split, SplitSpec, make_split
from unet_exp.errors import ConfigError, DataError


def case(number: int, *, patient: int | None = None, institution: str = "A", part: str = "train") -> Case:
    name = f"{number:03d}"
    return Case(
        id=name,
        image=Path(name),
        mask=Path(name),
        patient=f"p{number if patient is None else patient}",
        institution=institution,
        part=part,
    )


def ids(cases):
    return [c.id for c in cases]


def test_holdout_keeps_patients_together():
    cases = [case(i, patient=i // 3) for i in range(30)]
    split = make_split(cases, SplitSpec(scheme="holdout", validation_fraction=0.2))
    assert len(split.val) == 6
    assert not {c.patient for c in split.val} & {c.patient for c in split.train}


def test_holdout_does_not_depend_on_the_order_of_the_files():
    cases = [case(i) for i in range(20)]
    spec = SplitSpec(scheme="holdout", seed=3)
    assert make_split(cases, spec) == make_split(cases[::-1], spec)


def test_folds_partition_the_cases():
    cases = [case(i, patient=i // 2) for i in range(20)]
    held_out = []
    for fold in range(4):
        split = make_split(cases, SplitSpec(scheme="kfold", folds=4, fold=fold))
        held_out += ids(split.val)
        assert sorted(ids(split.val) + ids(split.train)) == ids(cases)
    assert sorted(held_out) == ids(cases)


def test_auto_is_official_where_there_are_validation_cases():
    cases = [case(0), case(1), case(2, part="val"), case(3, part="test")]
    assert make_split(cases, SplitSpec(scheme="auto")).scheme == "official"
    assert make_split(cases[:2], SplitSpec(scheme="auto")).scheme.startswith("holdout")


def test_fold_beyond_the_last_is_explained():
    with pytest.raises(ConfigError, match=r"data\.split\.fold: must be below"):
        make_split([case(i) for i in range(9)], SplitSpec(scheme="kfold", folds=3, fold=3))


def test_a_patient_in_two_parts_is_named():
    with pytest.raises(DataError, match="Patient p7 is in both the train and the test part"):
        Split("by hand", (case(1, patient=7),), (case(2),), (case(3, patient=7),))


def test_an_empty_part_is_explained():
    split = make_split([case(0), case(1)], SplitSpec(scheme="official"))
    with pytest.raises(ConfigError, match=r"there is no val case in this split \(official: 2 train, 0 val, 0 test\)"):
        split.require("train", "val")


def test_the_hash_follows_the_ids():
    cases = [case(i) for i in range(10)]
    first = make_split(cases, SplitSpec(scheme="holdout")).description()
    assert first["hash"] == make_split(cases, SplitSpec(scheme="holdout")).description()["hash"]
    assert first["hash"] != make_split(cases[:9], SplitSpec(scheme="holdout")).description()["hash"]
    assert sorted(first["train"] + first["val"]) == ids(cases)

"""Splits: disjoint, seeded, complete; what cannot be made is explained."""

from pathlib import Path

import numpy as np
import pytest

from unet_exp.data._case import Case
from unet_exp.data._split import Split, SplitSpec, make_split
from unet_exp.errors import ConfigError, DataError


def case(
    number: int,
    *,
    patient: int | None = None,
    institution: str = "A",
    part: str = "train",
    content: str = "",
    class_pixels: tuple[int, ...] = (),
) -> Case:
    name = f"{number:03d}"
    return Case(
        id=name,
        image=Path(name),
        mask=Path(name),
        patient=f"p{number if patient is None else patient}",
        institution=institution,
        part=part,
        content=content,
        class_pixels=class_pixels,
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


def test_the_hash_follows_the_pixels():
    before = make_split([case(0, content="a"), case(1)], SplitSpec()).description()
    after = make_split([case(0, content="b"), case(1)], SplitSpec()).description()
    assert before["contents"] == {"000": "a"}
    assert before["hash"] != after["hash"]


@pytest.mark.parametrize("scheme", ["holdout", "kfold"])
def test_images_of_the_same_pixels_stay_together(scheme):
    """Two names for one picture, chained over three patients: one group."""
    cases = [case(i, content=f"c{i}") for i in range(20)]
    cases += [case(100, patient=0, content="c7"), case(101, patient=7, content="c3")]
    for seed in range(10):
        split = make_split(cases, SplitSpec(scheme=scheme, seed=seed))
        where = {name: part for part in ("train", "val") for name in ids(split.cases(part))}
        assert len({where[name] for name in ("000", "003", "007", "100", "101")}) == 1


def test_the_same_image_in_two_official_parts_is_an_error_that_names_both():
    cases = [case(0, content="x"), case(1, part="val"), case(2, part="test", content="x")]
    with pytest.raises(DataError, match=r"000 in the train part and 002 in the test part .* are the same image"):
        make_split(cases, SplitSpec())


def rare_class_cases(count: int = 60) -> list[Case]:
    """Every class 2 pixel lies in a third of the cases; sizes differ tenfold."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(1000, 10_000, count)
    return [
        case(i, class_pixels=(int(n * 0.7), int(n * 0.3), int(n * 0.05) if i % 3 == 0 else 0))
        for i, n in enumerate(sizes)
    ]


def class_shares(cases) -> np.ndarray:
    return np.array([c.class_pixels for c in cases], float).sum(0)


def test_folds_have_their_share_of_every_class_and_size():
    cases = rare_class_cases()
    total = class_shares(cases)
    worst = {True: 0.0, False: 0.0}
    for seed in range(4):
        for stratify in worst:
            specs = [SplitSpec(scheme="kfold", fold=fold, stratify=stratify, seed=seed) for fold in range(5)]
            parts = [make_split(cases, spec).val for spec in specs]
            deviation = np.abs(np.array([class_shares(part) / total for part in parts]) - 0.2).max()
            worst[stratify] = max(worst[stratify], float(deviation))
            assert all(10 <= len(part) <= 14 for part in parts)
    assert worst[True] < 0.05
    assert worst[False] > 0.1  # the test can tell


def test_holdout_parts_have_their_share_of_every_class():
    cases = rare_class_cases()
    for seed in range(5):
        spec = SplitSpec(scheme="holdout", validation_fraction=0.15, test_fraction=0.25, seed=seed)
        split = make_split(cases, spec)
        for part, share in (("val", 0.15), ("test", 0.25), ("train", 0.6)):
            assert np.abs(class_shares(split.cases(part)) / class_shares(cases) - share).max() < 0.05
            assert abs(len(split.cases(part)) / len(cases) - share) < 0.05


def test_another_seed_gives_another_split():
    cases = rare_class_cases()
    assert len({tuple(ids(make_split(cases, SplitSpec(scheme="holdout", seed=seed)).val)) for seed in range(8)}) == 8


@pytest.mark.parametrize("groups", [2, 3, 7])
def test_no_part_is_empty_where_there_are_enough_groups(groups):
    cases = [case(i, class_pixels=(10 ** (i % 4), 1)) for i in range(groups)]
    split = make_split(cases, SplitSpec(scheme="holdout", validation_fraction=0.05))
    assert split.train
    assert split.val
    for fold in range(groups):
        assert make_split(cases, SplitSpec(scheme="kfold", folds=groups, fold=fold)).val


def test_fractions_that_leave_nothing_to_train_on_are_explained():
    with pytest.raises(ConfigError, match="leave nothing to train on"):
        make_split(rare_class_cases(), SplitSpec(scheme="holdout", validation_fraction=0.5, test_fraction=0.5))

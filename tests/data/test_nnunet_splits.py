"""Splits of nnU-Net datasets: its own list of folds, wherever it lies, or folds of ours."""

import json
from pathlib import Path

import pytest

from tests import fake
from tests.data.test_nnunet import TRAINING, config, refused
from unet_exp.build import build_datamodule


@pytest.fixture
def root(tmp_path) -> Path:
    return fake.nnunet(tmp_path / "nnUNet_raw" / "Dataset123_Glands")


FOLDS = [
    {"train": TRAINING[:3], "val": TRAINING[3:]},
    {"train": TRAINING[4:], "val": TRAINING[1:3]},
]


def ids(root: Path, *overrides: str) -> list[list[str]]:
    split = build_datamodule(config(root, *overrides)).split
    return [[case.id for case in split.cases(part)] for part in ("train", "val", "test")]


@pytest.mark.parametrize("place", ["root", "preprocessed", "given"])
def test_the_official_split_is_nnunets_own(root, place):
    folder = {
        "root": root,
        "preprocessed": root.parents[1] / "nnUNet_preprocessed" / root.name,
        "given": root.parents[1] / "mine",
    }[place]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "splits_final.json").write_text(json.dumps(FOLDS))
    given = [f"data.splits={folder / 'splits_final.json'}"] if place == "given" else []
    official = [*given, "data.split.scheme=official"]
    test = ["Ts_000", "Ts_001"]
    assert ids(root, *official) == [TRAINING[:3], TRAINING[3:], test]
    assert ids(root, *official, "data.split.fold=1") == [TRAINING[4:], TRAINING[1:3], test]  # 0 and 3 are left out
    assert ids(root, *given, "data.split.scheme=auto") == [TRAINING[:3], TRAINING[3:], test]


def test_without_it_folds_are_drawn(root):
    train, val, test = ids(root, "data.split.folds=3")
    assert sorted(train + val) == TRAINING
    assert len(val) == 2
    assert test == ["Ts_000", "Ts_001"]
    train, val, _ = ids(root, "data.split.scheme=auto")
    assert sorted(train + val) == TRAINING


def test_a_missing_split_says_where_it_was_looked_for(root):
    message = refused(root, "data.split.scheme=official")
    assert str(root) in message
    assert str(root.parents[1] / "nnUNet_preprocessed" / root.name) in message
    assert "data.splits=<file>" in message


@pytest.mark.parametrize(
    ("content", "overrides", "expected"),
    [
        (FOLDS, ["data.split.fold=2"], "has 2 folds, so it must be below that, got 2"),
        ([{"train": ["Tr_000", "gone"], "val": ["Tr_001"]}], [], "fold 0 names 1 cases that have no image"),
        ([{"train": ["Tr_000"], "val": ["Tr_000"]}], [], "names Tr_000 for training and for validation"),
        ([{"train": ["Tr_000"]}], [], "is not a list of folds"),
        ({"train": [], "val": []}, [], "is not a list of folds"),
    ],
)
def test_mistakes_in_a_split_are_explained(root, content, overrides, expected):
    (root / "splits_final.json").write_text(json.dumps(content))
    message = refused(root, "data.split.scheme=official", *overrides)
    assert expected in message
    assert str(root / "splits_final.json") in message


def test_a_given_split_that_is_not_there_is_named(root):
    message = refused(root, "data.split.scheme=official", f"data.splits={root / 'none.json'}")
    assert f"{root / 'none.json'}: cannot be read (No such file or directory)" in message

"""dataset.json of nnU-Net: what is not supported is refused by name."""

import json
from pathlib import Path

import pytest

from tests import fake
from unet_exp.data._nnunet_json import read_dataset_json
from unet_exp.errors import DataError


def describe(root: Path, **changes) -> None:
    """Change dataset.json; None takes a key out."""
    path = root / "dataset.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


@pytest.fixture
def root(tmp_path) -> Path:
    return fake.nnunet(tmp_path / "Dataset123_Glands")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"labels": {"background": 0, "whole": [1, 2], "core": 2}}, "label 'whole' is a region ([1, 2])"),
        ({"labels": {"background": 0, "gland": "1"}}, "label 'gland' must be a whole number"),
        ({"labels": {"background": 0, "gland": True}}, "label 'gland' must be a whole number"),
        ({"labels": {"background": 0, "gland": 2}}, "consecutive numbers"),
        ({"labels": {"background": 0, "gland": 1, "tumor": 1}}, "consecutive numbers"),
        ({"labels": {"gland": 0, "tumor": 1}}, "'background': 0"),
        ({"labels": {"background": 0, "ignore": 1}}, "at least one class"),
        ({"labels": {"background": 0, "ignore": 1, "gland": 2}}, "'ignore' must be the highest label, got 1 of 2"),
        ({"labels": None}, "the key 'labels' is missing"),
        ({"labels": 3}, "is not a dataset.json of nnU-Net version 2"),
        ({"numTraining": "many"}, "is not a dataset.json of nnU-Net version 2"),
        ({"file_ending": ".nii.gz"}, "file_ending '.nii.gz' is not supported; natural images end in .png"),
        ({"channel_names": {"0": "R", "1": "G", "2": "B", "3": "NIR"}}, "lists 4 channels (R, G, B, NIR)"),
        ({"channel_names": {"0": "T1", "1": "T2"}}, "lists 2 channels"),
        ({"dataset": {"case": {"images": [], "label": ""}}}, "key 'dataset'"),
    ],
)
def test_what_is_not_supported_is_named(root, changes, expected):
    describe(root, **changes)
    with pytest.raises(DataError) as caught:
        read_dataset_json(root)
    assert str(root / "dataset.json") in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '"text"', "null", "\x00"])
def test_a_damaged_dataset_json_is_named(root, content):
    (root / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=r"dataset.json: is not a dataset.json of nnU-Net version 2"):
        read_dataset_json(root)

"""`data.split.group=content`, from image files to the parts of a split."""

import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.data.test_likeness import lesion, moved
from tests.data.test_split import case, ids
from tests.data.test_verify import make_source
from unet_exp.build import build_datamodule
from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.data import _examination, _likeness_file
from unet_exp.data._collection import examine_collection
from unet_exp.data._split import SplitSpec, make_split
from unet_exp.errors import ConfigError

COUNT = 12
SHOTS = {"a_turned": (0, {"turn": 20}), "b_nearer": (5, {"zoom": 1.3}), "c_of_b": (5, {"zoom": 1.3, "turn": -12})}
"""Other shots: their name, the lesion, and how it was moved."""
TOGETHER = ({"000", "a_turned"}, {"005", "b_nearer", "c_of_b"})


def write(root, name, picture):
    for folder, content in (("images", picture), ("masks", np.full(picture.shape[:2], 255, np.uint8))):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(content).save(root / folder / f"{name}.png")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Twelve lesions, of two of which there are other shots."""
    folder = tmp_path_factory.mktemp("alike") / "data"
    for seed in range(COUNT):
        write(folder, f"{seed:03d}", lesion(seed))
    for name, (seed, changes) in SHOTS.items():
        write(folder, name, moved(lesion(seed), **changes))
    return folder


@pytest.fixture(scope="module")
def cases(root):
    return examine_collection(make_source("folder", root, split={"group": "content"}), root.parent / "store").cases


def parts_of(cases, spec):
    split = make_split(cases, spec)
    return {name: part for part in ("train", "val", "test") for name in ids(split.cases(part))}


def test_cases_know_whom_they_are_like(cases):
    alike = {one.id: one.alike for one in cases}
    assert {frozenset(n for n in alike if alike[n] == alike[first]) for first in ("000", "005")} == {
        frozenset(group) for group in TOGETHER
    }
    assert all(alike[name] == name for name in alike if not any(name in group for group in TOGETHER))


@pytest.mark.parametrize("scheme", [{"scheme": "holdout", "test_fraction": 0.2}, {"scheme": "kfold", "folds": 4}])
def test_alike_images_are_never_torn_apart(cases, scheme):
    torn = 0
    for seed in range(12):
        spec = SplitSpec(group="content", seed=seed, **scheme)
        where = parts_of(cases, spec)
        assert len(where) == COUNT + len(SHOTS)
        assert all(len({where[name] for name in group}) == 1 for group in TOGETHER)
        by_patient = parts_of(cases, replace(spec, group="patient"))
        torn += any(len({by_patient[name] for name in group}) > 1 for group in TOGETHER)
    assert torn > 0  # so that the test can tell


def test_folds_by_content_hold_every_case_out_once(cases):
    splits = [make_split(cases, SplitSpec(scheme="kfold", group="content", folds=4, fold=fold)) for fold in range(4)]
    assert sorted(name for split in splits for name in ids(split.val)) == sorted(one.id for one in cases)


def test_the_description_says_how_and_its_hash_follows(cases):
    by_content = make_split(cases, SplitSpec(scheme="holdout", group="content", seed=1)).description()
    unlike = [replace(one, alike="") for one in cases]
    by_patient = make_split(unlike, SplitSpec(scheme="holdout", group="patient", seed=1)).description()
    assert by_content["scheme"] == "holdout of 0.2 by content, seed 1"
    assert by_content["alike"] == [sorted(group) for group in TOGETHER]
    assert "alike" not in by_patient
    assert by_content["hash"] != by_patient["hash"]


def test_images_are_fingerprinted_once_and_only_if_asked_for(root, tmp_path, monkeypatch):
    taken = []

    def counted(image):
        taken.append(image.shape)
        return fingerprint(image)

    fingerprint = _examination.fingerprint
    monkeypatch.setattr(_examination, "fingerprint", counted)
    by_patient = make_source("folder", root)
    examine_collection(by_patient, tmp_path)
    assert taken == []
    by_content = make_source("folder", root, split={"group": "content"})
    first = examine_collection(by_content, tmp_path).cases
    assert len(taken) == COUNT + len(SHOTS)
    monkeypatch.setattr(_likeness_file, "alike_groups", lambda *_, **__: pytest.fail("compared again"))
    assert examine_collection(by_content, tmp_path).cases == first
    assert not any(one.alike for one in examine_collection(by_patient, tmp_path).cases)
    assert len(taken) == COUNT + len(SHOTS)


def test_a_changed_image_is_compared_anew(root, tmp_path):
    folder = tmp_path / "data"
    for name, seed in (("a", 0), ("b", 1), ("c", 2)):
        write(folder, name, lesion(seed))
    source = make_source("folder", folder, split={"group": "content"})
    assert [one.alike for one in examine_collection(source, tmp_path).cases] == ["a", "b", "c"]
    time.sleep(0.02)  # the time of change must differ
    write(folder, "c", moved(lesion(0), zoom=1.2))
    assert [one.alike for one in examine_collection(source, tmp_path).cases] == ["a", "b", "a"]


def test_patients_stay_together_too():
    cases = [replace(case(n, patient=n // 2), alike=f"{n:03d}") for n in range(20)]
    cases[7] = replace(cases[7], alike="000")  # patients 0 and 3 share a lesion's picture, or a mistake in the names
    for seed in range(8):
        where = parts_of(cases, SplitSpec(scheme="holdout", group="content", seed=seed))
        assert len({where[f"{n:03d}"] for n in (0, 1, 6, 7)}) == 1
        assert all(where[f"{n:03d}"] == where[f"{n + 1:03d}"] for n in range(0, 20, 2))


def test_more_folds_than_groups_are_explained():
    cases = [replace(case(n), alike="000" if n < 8 else f"{n:03d}") for n in range(10)]
    with pytest.raises(ConfigError, match="4 folds but only 3 content groups"):
        make_split(cases, SplitSpec(scheme="kfold", group="content", folds=4))


def test_an_unknown_group_is_explained():
    config = compose_config("train", ["data=isic2017", "data.split.group=contents"])
    with pytest.raises(ConfigError, match=r"data\.split\.group: .*'patient', 'institution' or 'content'"):
        check_train_config(config)


def test_volumes_are_not_compared():
    config = compose_config("train", ["data=lits", "data.split.group=content", "augmentation=light"])
    checked = check_train_config(config)
    with pytest.raises(ConfigError, match=r"data\.split\.group: content compares pictures, and these are volumes"):
        build_datamodule(checked)

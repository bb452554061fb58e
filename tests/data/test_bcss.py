"""BCSS: names, codes, institutions, resolution."""

import numpy as np
import pytest
from PIL import Image

from tests import fake
from tests.conftest import REAL_DATA
from tests.data.test_contract import datamodule
from unet_exp.errors import ConfigError, DataError

REAL = REAL_DATA / "bcss"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="the shared BCSS regions are not here")


def institutions(part):
    return {case.institution for case in part}


def test_official_split_is_by_institution(bcss_root):
    split = datamodule("bcss", bcss_root).split
    assert institutions(split.train) == {"A2", "AR", "D8"}
    assert institutions(split.val) == {"BH", "A1"}
    assert institutions(split.test) == {"OL", "GM"}


def test_kfold_by_institution_leaves_the_official_test_cases_alone(bcss_root):
    held_out = []
    for fold in range(5):
        split = datamodule(
            "bcss",
            bcss_root,
            "data.split.scheme=kfold",
            "data.split.group=institution",
            f"data.split.fold={fold}",
        ).split
        assert institutions(split.test) == {"OL", "GM"}
        held_out += [case.id for case in split.val]
    assert len(held_out) == len(set(held_out)) == 5


def test_more_folds_than_groups_is_explained(bcss_root):
    with pytest.raises(ConfigError, match="6 folds but only 5 patient groups"):
        _ = datamodule("bcss", bcss_root, "data.split.scheme=kfold", "data.split.folds=6").split


def test_case_is_read_from_its_name(bcss_root):
    case = datamodule("bcss", bcss_root).split.train[0]
    assert (case.institution, case.patient, case.mpp) == ("A2", "TCGA-A2-A000", 0.5)


def test_drive_release_layout_is_read(tmp_path):
    root = tmp_path / "0_Public-data-Amgad2019_0.25MPP"
    fake.bcss(root, images="rgbs_colorNormalized")
    assert len(datamodule("bcss", tmp_path).split.train) == 3


def test_magnification_in_the_name_gives_the_resolution(tmp_path):
    root = fake.bcss(tmp_path)
    for folder in ("images", "masks"):
        path = next((root / folder).glob("*A2*"))
        path.rename(path.with_name(path.name.replace("MPP-0.5000", "MAG-20.00")))
    assert datamodule("bcss", root).split.train[0].mpp == 0.5


def test_codes_are_grouped_and_outside_is_ignored(bcss_root):
    source = datamodule("bcss", bcss_root).source
    case = datamodule("bcss", bcss_root).split.train[0]
    _, labels = source.read_full(case)
    codes = np.asarray(Image.open(case.mask))
    names = {
        0: None,
        1: "tumor",
        2: "stroma",
        3: "inflammatory",
        4: "necrosis",
        9: "other",
        10: "inflammatory",
        20: "tumor",
    }
    for code, name in names.items():
        expected = 255 if name is None else source.class_names.index(name)
        assert set(labels[codes == code]) == {expected}


def test_unknown_code_names_file_and_code(tmp_path):
    root = fake.bcss(tmp_path)
    mask = next((root / "masks").glob("*A2*"))
    codes = np.asarray(Image.open(mask)).copy()
    codes[:2, :3] = 77
    Image.fromarray(codes).save(mask)
    with pytest.raises(DataError, match=rf"{mask.name}: Codes: .*, unknown 77 \(6 px\)"):
        _ = datamodule("bcss", root).split


def test_a_code_claimed_twice_is_refused(bcss_root):
    with pytest.raises(ConfigError, match="code 2 belongs to both 'tumor' and 'stroma'"):
        datamodule("bcss", bcss_root, "data.classes.tumor.codes=[1,2]")


def test_mask_without_image_is_named(tmp_path):
    root = fake.bcss(tmp_path)
    lost = next((root / "images").glob("*A2*"))
    lost.unlink()
    with pytest.raises(DataError, match=lost.name):
        _ = datamodule("bcss", root).split


def test_image_without_mask_is_named(tmp_path):
    root = fake.bcss(tmp_path)
    lost = next((root / "masks").glob("*A2*"))
    lost.unlink()
    with pytest.raises(DataError, match=f"images/{lost.name}: There is no mask"):
        _ = datamodule("bcss", root).split


def test_unknown_resolution_matters_only_where_one_is_asked_for(tmp_path):
    root = fake.bcss(tmp_path)
    for folder in ("images", "masks"):
        path = next((root / folder).glob("*A2*"))
        path.rename(path.with_name(path.name.replace("MPP-0.5000", "MAG-0")))
    with pytest.raises(DataError, match=r"MAG-0\.png: MAG-0 in the name"):
        _ = datamodule("bcss", root).split
    native = datamodule("bcss", root, "data.mpp=null", "data.score_mpp=null").source
    assert [case.mpp for case in native.cases() if "-A2-" in case.id] == [None]


def test_name_that_does_not_parse_is_named(tmp_path):
    root = fake.bcss(tmp_path)
    for folder in ("images", "masks"):
        next((root / folder).glob("*A2*")).rename(root / folder / "slide7.png")
    with pytest.raises(DataError, match=r"slide7\.png: the name does not follow"):
        _ = datamodule("bcss", root).split


def test_size_mismatch_and_damaged_file_are_named(tmp_path):
    root = fake.bcss(tmp_path)
    image = next((root / "images").glob("*A2*"))
    Image.open(image).resize((30, 30)).save(image)
    with pytest.raises(DataError, match=f"{image.name}: The mask is 70 x 90 px .*, its image {image.name} 30 x 30"):
        _ = datamodule("bcss", root).split
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(DataError, match=f"{image.name}: Cannot be read as an image"):
        _ = datamodule("bcss", root).split


@pytest.mark.parametrize(("mpp", "factor"), [(0.5, 1.0), (1.0, 0.5), (0.25, 2.0)])
def test_resolution_follows_the_name(bcss_root, mpp, factor):
    built = datamodule("bcss", bcss_root, f"data.mpp={mpp}", "data.score_mpp=0.5")
    case = built.split.val[0]
    full, full_labels = built.source.read_full(case)
    image, labels = built.source.read_training(case)
    assert image.shape[:2] == labels.shape == tuple(round(side * factor) for side in full.shape[:2])
    assert set(np.unique(labels)) <= set(np.unique(full_labels))
    image, labels = built.source.read_evaluation(case, built.collection.store[case.id])
    assert image.shape[:2] != labels.shape or factor == 1.0
    assert labels.shape == full_labels.shape


@needs_real_data
def test_real_regions_are_read():
    built = datamodule("bcss", REAL, "data.mpp=1.2")
    assert [len(built.split.cases(part)) for part in ("train", "val", "test")] == [9, 1, 0]
    image, labels = built.source.read_training(next(c for c in built.split.train if "A0D2" in c.id))
    assert image.shape[:2] == labels.shape == (round(2418 * 0.25 / 1.2), round(3391 * 0.25 / 1.2))
    assert set(np.unique(labels)) == {0, 1, 3, 255}  # tumor, stroma, necrosis, and excluded pixels

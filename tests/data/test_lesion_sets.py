"""ISIC, PH2 and folders: layouts, masks, sizes."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from tests import fake
from tests.conftest import REAL_DATA
from tests.data.test_contract import datamodule
from unet_exp.errors import DataError


def counts(built):
    return [len(built.split.cases(part)) for part in ("train", "val", "test")]


@pytest.mark.parametrize(("year", "expected"), [(2016, [5, 1, 3]), (2017, [6, 3, 3]), (2018, [6, 3, 3])])
def test_official_folders_give_the_official_split(tmp_path, year, expected):
    fake.isic(tmp_path, year=year)
    assert counts(datamodule(f"isic{year}", tmp_path)) == expected


def test_training_folder_alone_is_split_by_a_seeded_holdout(tmp_path):
    fake.isic(tmp_path, year=2017, parts=("Training",))
    first, again = datamodule("isic2017", tmp_path), datamodule("isic2017", tmp_path)
    assert counts(first) == [5, 1, 0]
    assert first.split.scheme.startswith("holdout")
    assert first.split.description() == again.split.description()
    other = datamodule("isic2017", tmp_path, "data.split.seed=3")
    assert other.split.description()["hash"] != first.split.description()["hash"]


def test_test_fraction_draws_all_parts_from_the_training_cases(tmp_path):
    fake.isic(tmp_path, year=2018)
    settings = [
        "data.split.scheme=holdout",
        "data.split.validation_fraction=0.15",
        "data.split.test_fraction=0.34",
    ]
    split = datamodule("isic2018", tmp_path, *settings).split
    assert [len(split.train), len(split.val), len(split.test)] == [3, 1, 2]
    assert all(case.part == "train" for case in (*split.train, *split.val, *split.test))


def test_image_without_mask_is_named(tmp_path):
    fake.isic(tmp_path, year=2017)
    next((tmp_path / "ISIC-2017_Training_Part1_GroundTruth").glob("*0000002*")).unlink()
    with pytest.raises(DataError, match="ISIC_0000002"):
        _ = datamodule("isic2017", tmp_path).split


def test_mask_without_image_is_named(tmp_path):
    fake.isic(tmp_path, year=2017)
    (tmp_path / "ISIC-2017_Training_Data" / "ISIC_0000002.jpg").unlink()
    with pytest.raises(DataError, match=r"ISIC_0000002_segmentation\.png: There is no image"):
        _ = datamodule("isic2017", tmp_path).split


def test_validation_images_without_their_masks_do_not_change_the_split_silently(tmp_path):
    fake.isic(tmp_path, year=2017)
    shutil.rmtree(tmp_path / "ISIC-2017_Validation_Part1_GroundTruth")
    with pytest.raises(DataError, match="ISIC-2017_Validation_Data: It holds 3 images, but there are no masks"):
        _ = datamodule("isic2017", tmp_path).split


def test_folder_masks_of_two_names_for_one_image_are_named(tmp_path):
    root = fake.folder(tmp_path)
    shutil.copy(root / "masks" / "0_mask.png", root / "masks" / "0_segmentation.png")
    with pytest.raises(DataError, match=r"0_segmentation\.png: It has the same name as .*0_mask\.png"):
        _ = datamodule("folder", root).split


def test_images_are_resized_and_scored_at_their_own_size(isic_root):
    built = datamodule("isic2017", isic_root, "data.image_size=[32,48]")
    sample = built.evaluation_dataset(built.split.val)[0]
    assert sample["image"].shape == (3, 32, 48)
    assert sample["mask"].shape == Image.open(built.split.val[0].mask).size[::-1]
    assert set(sample["mask"].unique().tolist()) == {0, 1}


def test_masks_of_ph2_are_binary_whatever_their_depth(tmp_path):
    built = datamodule("ph2", fake.ph2(tmp_path))
    assert {Image.open(case.mask).mode for case in (*built.split.train, *built.split.val)} == {"1", "L"}
    for case in (*built.split.train, *built.split.val):
        assert set(np.unique(built.source.read_full(case)[1])) == {0, 1}


def test_folder_with_several_classes(tmp_path):
    root = fake.folder(tmp_path)
    for mask in (root / "masks").iterdir():
        codes = np.asarray(Image.open(mask)) // 255 * 2
        codes[:5] = 1
        Image.fromarray(codes).save(mask)
    built = datamodule(
        "folder",
        root,
        "~data.classes.foreground",
        "data.classes.background.codes=[0]",
        "+data.classes.sky={color: [0, 0, 255], codes: [1]}",
        "+data.classes.thing={color: [255, 0, 0], codes: [2]}",
        "data.num_classes=3",
    )
    labels = built.source.read_full(built.split.train[0])[1]
    assert set(np.unique(labels)) == {0, 1, 2}
    assert built.source.scored_classes == [1, 2]


def test_palette_masks_give_their_indices(tmp_path):
    root = fake.folder(tmp_path)
    for mask in (root / "masks").iterdir():
        picture = Image.fromarray(np.asarray(Image.open(mask)) // 255, mode="P")
        picture.putpalette([10, 20, 30, 200, 100, 50] + [0] * 762)
        picture.save(mask)
    built = datamodule("folder", root, "data.classes.foreground.codes=[1]")
    assert set(np.unique(built.source.read_full(built.split.train[0])[1])) == {0, 1}


def test_rotated_photographs_are_upright(tmp_path):
    root = fake.folder(tmp_path)
    path = root / "images" / "0.jpg"
    image = Image.open(path)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
    built = datamodule("folder", root)
    case = next(c for c in (*built.split.train, *built.split.val) if c.id == "0")
    assert built.source.read_full(case)[0].shape[:2] == image.size[::-1]


@pytest.mark.slow  # examines and converts 2,000 images
@pytest.mark.skipif(not (REAL_DATA / "isic2017").is_dir(), reason="the shared ISIC images are not here")
def test_real_isic_holds_about_400_images_out():
    train, val, test = counts(datamodule("isic2017", REAL_DATA / "isic2017"))
    assert train + val == 2000
    assert val == pytest.approx(400, rel=0.05)
    assert test == 0


@pytest.mark.skipif(not (REAL_DATA / "isic2017_native").is_dir(), reason="the shared ISIC images are not here")
def test_real_images_of_native_size():
    built = datamodule("isic2017", REAL_DATA / "isic2017_native")
    sizes = {tuple(s["mask"].shape) for s in map(built.evaluation_dataset(built.split.train).__getitem__, range(2))}
    assert torch.tensor(sorted(sizes)).min() >= 768

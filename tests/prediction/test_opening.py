"""Finding images by file, folder and glob, and telling pictures, slides and volumes apart."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests import fake
from tests.prediction.descriptions import describe
from tests.prediction.slides import write_pyramid
from unet_exp.errors import UserError
from unet_exp.prediction.opening import find_images, is_slide, is_volume, open_image
from unet_exp.prediction.picture import Picture
from unet_exp.prediction.slide import Slide


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deeper").mkdir()
    (tmp_path / "folder.png").mkdir()
    names = ("b10.png", "b2.PNG", "a.svs", "c.nii.gz", ".hidden.png", "notes.txt", "scan.tiff", "d.gz", "deeper/e.jpg")
    for name in names:
        (tmp_path / name).touch()
    return tmp_path


def names(paths, folder):
    return [str(path.relative_to(folder)) for path in paths]


def test_a_folder_gives_its_images_in_natural_order(folder):
    assert names(find_images(str(folder)), folder) == ["a.svs", "b2.PNG", "b10.png", "c.nii.gz", "scan.tiff"]


def test_globs_give_images_only(folder):
    assert names(find_images(f"{folder}/b*"), folder) == ["b2.PNG", "b10.png"]
    assert names(find_images(f"{folder}/**"), folder) == [
        "a.svs", "b2.PNG", "b10.png", "c.nii.gz", "deeper/e.jpg", "scan.tiff",
    ]  # fmt: skip
    assert names(find_images(f"{folder}/*/*.jpg"), folder) == ["deeper/e.jpg"]


@pytest.mark.parametrize("name", ["slide[1].png", "a*b.png", "what?.svs", "without_suffix"])
def test_a_file_that_is_there_is_meant_literally(tmp_path, name):
    (tmp_path / "slide1.png").touch()
    (tmp_path / name).touch()
    assert find_images(str(tmp_path / name)) == [tmp_path / name]


def test_a_folder_that_is_there_is_meant_literally(tmp_path):
    (tmp_path / "set [1]").mkdir()
    (tmp_path / "set [1]" / "a.png").touch()
    assert find_images(str(tmp_path / "set [1]")) == [tmp_path / "set [1]" / "a.png"]


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.png").touch()
    assert find_images("~/a.png") == find_images("~/*.png") == [tmp_path / "a.png"]


@pytest.mark.parametrize("pattern", ["nothing.png", "nothing/*.svs", "[1"])
def test_what_matches_nothing_is_named(tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        find_images(pattern)
    assert f"matches {pattern}." in str(caught.value)
    assert ".png" in str(caught.value)


def test_a_folder_without_images_says_how_to_search_deeper(folder):
    (folder / "empty" / "deep").mkdir(parents=True)
    with pytest.raises(UserError, match=r"holds no images.*\*\* to search its folders too"):
        find_images(str(folder / "empty"))


def test_files_are_told_apart(tmp_path):
    write_pyramid(tmp_path / "slide.tif", (600, 500))
    write_pyramid(tmp_path / "one_level.tif", (600, 500), downsamples=(1,))
    Image.new("RGB", (40, 30)).save(tmp_path / "plain.tif")
    Image.new("RGB", (40, 30)).save(tmp_path / "picture.png")
    fake.save_nifti(tmp_path / "volume.nii.gz", np.zeros((2, 8, 8), np.int16))
    (tmp_path / "text.svs").write_text("no slide")
    slides = {path.name for path in tmp_path.iterdir() if is_slide(path)}
    assert slides == {"slide.tif"}
    assert [path.name for path in tmp_path.iterdir() if is_volume(path)] == ["volume.nii.gz"]
    for name, kind in (("slide.tif", Slide), ("one_level.tif", Picture), ("plain.tif", Picture)):
        assert isinstance(open_image(tmp_path / name, describe(), input_mpp=None), kind)


def test_a_large_tiled_file_without_levels_is_read_region_by_region(tmp_path, monkeypatch):
    monkeypatch.setattr("unet_exp.prediction.opening._PICTURE_PIXELS", 500 * 600 - 1)
    write_pyramid(tmp_path / "one_level.tif", (600, 500), downsamples=(1,))
    assert is_slide(tmp_path / "one_level.tif")


WRONG = {
    "picture for a network of volumes": ({"slices": 3, "in_channels": 3}, "a.png", "is not a volume, but unet-test"),
    "volume for a network of pictures": ({}, "v.nii", "is a volume, but unet-test reads pictures"),
    "grey network": ({"in_channels": 1}, "a.png", "1 input channels"),
    "no image": ({}, "text.svs", "cannot be read as an image"),
    "missing": ({}, "missing.png", "cannot be read as an image"),
    "missing slide": ({}, "missing.svs", "cannot be read as an image"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_opened_is_named(tmp_path, name):
    changes, file, message = WRONG[name]
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    fake.save_nifti(tmp_path / "v.nii", np.zeros((2, 8, 8), np.int16))
    (tmp_path / "text.svs").write_text("no slide")
    with pytest.raises(UserError) as caught:
        open_image(tmp_path / file, describe(**changes), input_mpp=None)
    assert message in str(caught.value)
    assert file in str(caught.value)


def test_grey_values_of_many_bits_are_refused(tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, (300, 300)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "grey.png")
    tifffile.imwrite(tmp_path / "tiled.tif", values, tile=(256, 256))
    write_pyramid(tmp_path / "slide.tif", (600, 500), bits=16)
    for name in ("grey.png", "tiled.tif", "slide.tif"):
        with pytest.raises(UserError, match=f"{name}: .* 8"):
            open_image(tmp_path / name, describe(), input_mpp=None)

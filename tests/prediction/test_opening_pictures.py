"""Pictures reach the network as in training, and keep their own size for what is predicted."""

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.conftest import REAL_DATA
from tests.prediction.descriptions import describe
from unet_exp.build import build_datamodule
from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.data._image import read_image
from unet_exp.data._stain import normalize_stain
from unet_exp.errors import DataError, UserError
from unet_exp.prediction.opening import open_image


@pytest.fixture
def pixels():
    rng = np.random.default_rng(0)
    return cv2.GaussianBlur(rng.integers(0, 256, (150, 211, 3), dtype=np.uint8), (0, 0), 2)


@pytest.fixture
def picture(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def seen(image):
    return image.reader.read(0, 0, *image.reader.shape)


def test_without_a_resolution_it_is_taken_as_it_is(picture, pixels):
    image = open_image(picture, describe(), input_mpp=None)
    np.testing.assert_array_equal(seen(image), pixels)
    assert image.size == image.output_size == image.reader.shape == (150, 211)
    assert image.mpp is None
    assert image.scale == (1, 1)
    assert open_image(picture, describe(), input_mpp=0.7).mpp == 0.7  # for areas


@pytest.mark.parametrize(("mpp", "size"), [(0.25, (75, 106)), (0.3, (90, 127)), (0.5, (150, 211)), (0.8, (240, 338))])
def test_it_is_brought_to_the_resolution_of_the_network(picture, pixels, mpp, size):
    image = open_image(picture, describe(mpp=0.5), input_mpp=mpp)
    method = cv2.INTER_AREA if mpp < 0.5 else cv2.INTER_CUBIC
    np.testing.assert_array_equal(seen(image), cv2.resize(pixels, size[::-1], interpolation=method))
    assert image.reader.shape == size
    assert image.output_size == (150, 211)
    assert image.mpp == mpp


@pytest.mark.parametrize(("mpp", "stain"), [(0.5, "none"), (0.8, "macenko"), (0.37, "reinhard")])
def test_the_network_sees_what_training_saw(bcss_root, mpp, stain):
    choices = ["data=bcss", f"data.mpp={mpp}", f"data.score_mpp={mpp}", f"data.stain={stain}", "data.patch_size=32"]
    config = check_train_config(compose_config("train", [*choices, f"data.root={bcss_root}", "loader.num_workers=0"]))
    source = build_datamodule(config).source
    for case in source.scan().cases[:2]:
        trained, _ = source.read_training(case)
        image = open_image(case.image, describe(mpp=mpp, stain=stain), input_mpp=case.mpp)
        np.testing.assert_array_equal(seen(image), trained)


def test_it_is_stretched_for_a_network_that_sees_whole_images(picture, pixels):
    image = open_image(picture, describe(image_size=(64, 96)), input_mpp=None)
    np.testing.assert_array_equal(seen(image), cv2.resize(pixels, (96, 64), interpolation=cv2.INTER_AREA))
    assert image.output_size == (150, 211)


@pytest.mark.parametrize("method", ["macenko", "reinhard"])
def test_its_stain_is_normalised_after_resampling_but_not_for_people(tmp_path, method):
    stained = fake_tissue()
    Image.fromarray(stained).save(tmp_path / "a.png")
    image = open_image(tmp_path / "a.png", describe(mpp=1.0, stain=method), input_mpp=0.5)
    small = cv2.resize(stained, (60, 50), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(seen(image), normalize_stain(small, method))
    assert (seen(image) != small).any()
    np.testing.assert_array_equal(image.picture(500), stained)


def fake_tissue():
    amounts = np.random.default_rng(1).uniform(0, 1.5, (100, 120, 2))
    return np.exp(-amounts @ [[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]] + np.log(240)).astype(np.uint8)


def test_an_unknown_resolution_is_asked_for(picture):
    with pytest.raises(UserError) as caught:
        open_image(picture, describe(mpp=0.5), input_mpp=None)
    message = str(caught.value)
    assert "a.png" in message
    assert "0.5 µm" in message
    assert "input_mpp=" in message


def test_the_file_is_believed_unless_told_otherwise(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png", dpi=(101600, 101600))  # 0.25 µm per pixel
    assert open_image(tmp_path / "a.png", describe(mpp=0.5), input_mpp=None).reader.shape == (75, 106)
    assert open_image(tmp_path / "a.png", describe(mpp=0.5), input_mpp=0.5).reader.shape == (150, 211)


def test_people_see_it_upright_and_never_enlarged(tmp_path, pixels):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    image = open_image(tmp_path / "a.png", describe(image_size=(64, 64)), input_mpp=None)
    assert image.size == (211, 150)
    np.testing.assert_array_equal(image.picture(1000), np.rot90(pixels, -1))
    assert image.picture(100).shape == (100, 71, 3)
    assert image.picture(1).shape == (1, 1, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.97])
def test_a_file_that_is_cut_off_is_refused(tmp_path, pixels, suffix, share):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(pixels).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=path.name):
        open_image(path, describe(), input_mpp=None)


def test_a_jpeg_whose_end_never_arrived_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) // 2))
    read_image(path)  # Pillow sees nothing wrong
    with pytest.raises(DataError, match=r"a\.jpg: .*damaged"):
        open_image(path, describe(), input_mpp=None)


def test_other_kinds_of_pixels_become_rgb(tmp_path, pixels):
    grey = pixels[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([pixels, grey])).save(tmp_path / "alpha.png")
    tifffile.imwrite(tmp_path / "tiled.tif", pixels, tile=(64, 64), photometric="rgb", compression="zlib")
    np.testing.assert_array_equal(seen(open_image(tmp_path / "grey.png", describe(), input_mpp=None))[..., 2], grey)
    for name in ("alpha.png", "tiled.tif"):
        np.testing.assert_array_equal(seen(open_image(tmp_path / name, describe(), input_mpp=None)), pixels)


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="needs the real images")
def test_real_images():
    tissue = min((REAL_DATA / "bcss" / "images").glob("*.png"), key=lambda path: path.stat().st_size)
    image = open_image(tissue, describe(mpp=2.0), input_mpp=1.0)
    pixels = read_image(tissue)
    assert image.size == pixels.shape[:2]
    assert np.abs(seen(image).mean((0, 1)) - pixels.mean((0, 1))).max() < 1
    lesion = next((REAL_DATA / "isic2017_native" / "ISIC-2017_Training_Data").glob("*.jpg"))
    image = open_image(lesion, describe(image_size=(256, 256)), input_mpp=None)
    assert seen(image).shape == (256, 256, 3)
    assert max(image.picture(300).shape) == 300
    with pytest.raises(UserError, match="input_mpp="):
        open_image(lesion, describe(mpp=0.5), input_mpp=None)

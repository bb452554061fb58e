"""Slides are read piece by piece, each pixel exactly where and what it is however it is read."""

import threading

import cv2
import numpy as np
import openslide
import pytest
from PIL import Image

from tests.conftest import REAL_DATA
from tests.prediction.descriptions import describe
from tests.prediction.slides import tissue, write_pyramid
from unet_exp.data._image import read_image, resize_image
from unet_exp.errors import DataError, UserError
from unet_exp.prediction.opening import open_image
from unet_exp.prediction.slide import SlideReader


@pytest.fixture(scope="module")
def pixels():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (220, 300, 3), dtype=np.uint8)
    return np.clip(cv2.resize(coarse, (1503, 1107), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def slide(pixels, tmp_path_factory):
    """A slide whose sides are no multiples of anything."""
    path = tmp_path_factory.mktemp("slides") / "slide.tif"
    write_pyramid(path, pixels.shape[:2], mpp=0.25, image=lambda y, x: pixels[y, x], downsamples=(1, 4, 16))
    return path


def whole(image):
    return image.reader.read(0, 0, *image.reader.shape)


RESOLUTIONS = [0.11, 0.25, 0.26, 0.5, 0.61, 0.99, 1.0, 1.3, 4.0, 7.7]


@pytest.mark.parametrize("mpp", RESOLUTIONS)
def test_a_pixel_is_the_same_whatever_window_it_is_read_with(slide, mpp):
    image = open_image(slide, describe(mpp=mpp), input_mpp=None)
    height, width = image.reader.shape
    expected = whole(image)
    assert expected.shape == (round(1107 * 0.25 / mpp), round(1503 * 0.25 / mpp), 3)
    rng = np.random.default_rng(1)
    for _ in range(12):
        top, left = int(rng.integers(height)), int(rng.integers(width))
        rows, columns = int(rng.integers(1, height - top + 1)), int(rng.integers(1, width - left + 1))
        window = image.reader.read(top, left, rows, columns)
        np.testing.assert_array_equal(window, expected[top : top + rows, left : left + columns])
    for top, left in ((0, 0), (height - 1, width - 1), (height // 2, width // 3)):
        np.testing.assert_array_equal(image.reader.read(top, left, 1, 1)[0, 0], expected[top, left])


@pytest.mark.parametrize("side", [64, 512, 2**14])
def test_a_pixel_does_not_depend_on_how_much_is_held_at_once(slide, side, monkeypatch):
    expected = whole(open_image(slide, describe(mpp=0.61), input_mpp=None))
    monkeypatch.setattr("unet_exp.prediction.slide._STRIP", side**2)
    np.testing.assert_array_equal(whole(open_image(slide, describe(mpp=0.61), input_mpp=None)), expected)


@pytest.mark.parametrize("mpp", [0.11, 0.25, 0.26, 0.5, 0.61])
def test_the_network_sees_a_slide_as_it_sees_a_picture(slide, pixels, mpp):
    image = open_image(slide, describe(mpp=mpp), input_mpp=None)
    expected = resize_image(pixels, image.reader.shape)  # the whole at once, by OpenCV
    assert np.abs(whole(image).astype(int) - expected).max() <= 1  # OpenCV rounds its weights
    assert (whole(image) != expected).mean() < 0.1


@pytest.mark.parametrize(("mpp", "downsample"), [(0.99, 4), (1.0, 4), (1.3, 4), (4.0, 16), (7.7, 16)])
def test_coarse_grids_are_read_from_coarse_levels(tmp_path, pixels, mpp, downsample):
    even = pixels[:1104, :1488]  # multiples of 16, so that levels show all of it
    write_pyramid(tmp_path / "a.tif", even.shape[:2], mpp=0.25, image=lambda y, x: even[y, x])
    image = open_image(tmp_path / "a.tif", describe(mpp=mpp), input_mpp=None)
    level = even[downsample // 2 :: downsample, downsample // 2 :: downsample]
    expected = resize_image(level, image.reader.shape)
    assert np.abs(whole(image).astype(int) - expected).max() <= 1


def test_where_a_ramp_is_tells_where_pixels_are(tmp_path):
    """A level whose factor is 4 though its sides say 4.02: places do not drift over the slide."""
    ramp = np.linspace(0, 255, 2003)[None, :, None].repeat(1001, 0).repeat(3, 2).round().astype(np.uint8)
    write_pyramid(tmp_path / "a.svs", (1001, 2003), mpp=0.25, image=lambda y, x: ramp[y, x], aperio=True)
    for mpp in (0.25, 0.5, 0.7, 1.0, 1.1, 3.0, 4.0):
        image = open_image(tmp_path / "a.svs", describe(mpp=mpp), input_mpp=None)
        width = image.reader.shape[1]
        centers = (np.arange(width) + 0.5) * 2003 / width - 0.5
        difference = image.reader.read(5, 0, 1, width)[0, :, 0] - centers / 2002 * 255
        assert np.abs(difference).max() < 1 + 0.7 * 2003 / width * 255 / 2002  # rounding, and 0.7 pixels of the grid


@pytest.mark.slow
@pytest.mark.parametrize("downsamples", [(1, 3.99, 15.9), (1, 4.0003, 16.2), (1, 2.5), (1,), (1, 2, 4, 8, 16, 32)])
def test_any_structure_of_levels(tmp_path, monkeypatch, downsamples):
    monkeypatch.setattr("unet_exp.prediction.opening._PICTURE_PIXELS", 0)

    def waves(y, x):
        waves = np.sin(y / 40) * np.cos(x / 50) * 100 + 128
        return np.stack([waves, 255 - waves, waves / 2], -1).astype(np.uint8)

    write_pyramid(tmp_path / "a.tif", (1300, 1700), mpp=0.5, image=waves, downsamples=downsamples)
    y, x = np.mgrid[:1300, :1700]
    for mpp in (0.5, 1.0, 2.0, 2.3, 5.0):
        image = open_image(tmp_path / "a.tif", describe(mpp=mpp), input_mpp=None)
        expected = cv2.resize(waves(y, x), image.reader.shape[::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(whole(image).astype(int) - expected).max() <= 12  # a pixel of the grid is up to 25
        rows, columns = (side // 2 for side in image.reader.shape)
        np.testing.assert_array_equal(
            image.reader.read(rows, columns, 9, 9), whole(image)[rows : rows + 9, columns : columns + 9]
        )


def used_level(path, mpp):
    image = open_image(path, describe(mpp=mpp), input_mpp=None)
    return image.reader._level.factors[0]


def test_the_coarsest_level_that_is_fine_enough_is_read(tmp_path):
    write_pyramid(tmp_path / "a.svs", (2001, 3003), mpp=0.25, aperio=True)
    expected = {0.1: 1, 0.25: 1, 0.5: 1, 0.97: 1, 0.99: 4, 1.0: 4, 2.0: 4, 3.9: 4, 4.0: 16, 20.0: 16}
    assert {mpp: used_level(tmp_path / "a.svs", mpp) for mpp in expected} == expected


def test_sizes_and_resolution(slide, tmp_path):
    image = open_image(slide, describe(mpp=0.5), input_mpp=None)
    assert image.size == (1107, 1503)
    assert image.mpp == pytest.approx(0.25)
    assert image.output_size == image.reader.shape == (554, 752)
    assert image.scale == (1107 / 554, 1503 / 752)
    as_it_is = open_image(slide, describe(), input_mpp=None)
    assert as_it_is.output_size == (1107, 1503)
    assert as_it_is.mpp == pytest.approx(0.25)
    told = open_image(slide, describe(mpp=0.5), input_mpp=0.5)
    assert (told.mpp, told.output_size) == (0.5, (1107, 1503))
    write_pyramid(tmp_path / "unknown.tif", (300, 300))
    with pytest.raises(UserError, match=r"unknown\.tif.*0\.5 µm.*input_mpp="):
        open_image(tmp_path / "unknown.tif", describe(mpp=0.5), input_mpp=None)


def test_people_see_it_at_any_size(slide, pixels):
    image = open_image(slide, describe(mpp=0.5), input_mpp=None)
    np.testing.assert_array_equal(image.picture(5000), pixels)
    small = image.picture(300)
    assert small.shape == (221, 300, 3)
    expected = cv2.resize(pixels, (300, 221), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - expected).mean() < 25  # from a level that took one pixel of 16
    image.close()


class HoleySlide:
    """Nothing was scanned left of column 100; half-transparent left of column 200."""

    dimensions = (400, 300)
    level_dimensions = ((400, 300),)
    level_downsamples = (1.0,)
    level_count = 1

    def __init__(self, **properties):
        self.properties = properties

    def read_region(self, corner, level, size):
        columns = np.arange(corner[0], corner[0] + size[0])
        alpha = np.where(columns < 100, 0, np.where(columns < 200, 128, 255))
        pixels = np.zeros((size[1], size[0], 4), np.uint8)
        pixels[..., 0] = np.where(alpha > 0, 200, 0)
        pixels[..., 3] = alpha
        return Image.fromarray(pixels)


@pytest.mark.parametrize(("background", "expected"), [(None, (255, 255, 255)), ("F0E0D0", (240, 224, 208))])
def test_beyond_the_scan_there_is_glass(tmp_path, background, expected):
    file = HoleySlide(**({"openslide.background-color": background} if background else {}))
    row = SlideReader(tmp_path, file, (300, 400)).read(7, 0, 1, 400)[0]
    np.testing.assert_array_equal(row[:100], np.broadcast_to(expected, (100, 3)))
    np.testing.assert_array_equal(row[200:], np.broadcast_to((200, 0, 0), (200, 3)))
    half = np.add(expected, (200, 0, 0)) / 2
    assert np.abs(row[100:200] - half).max() <= 2


def test_it_is_read_in_another_thread_than_it_was_opened_in(slide, pixels):
    image = open_image(slide, describe(mpp=0.25), input_mpp=None)
    read = []
    thread = threading.Thread(target=lambda: read.append(image.reader.read(3, 5, 700, 900)))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(read[0], pixels[3:703, 5:905])


@pytest.mark.parametrize("aperio", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.8, 0.98, 0.999])
def test_a_file_that_is_cut_off_is_refused(tmp_path, aperio, share):
    path = tmp_path / "a.tif"
    write_pyramid(path, (1000, 1200), mpp=0.5, aperio=aperio)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"a\.tif"):
        whole(open_image(path, describe(), input_mpp=None))


def test_damage_in_the_middle_is_found_when_it_is_read(slide, tmp_path):
    path = tmp_path / "a.tif"
    content = bytearray(slide.read_bytes())
    content[5000:200000] = bytes(195000)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tif: the slide is damaged near row"):
        whole(open_image(path, describe(), input_mpp=None))


REFUSED = {"image_size": ((256, 256), "whole images stretched to 256x256"), "stain": ("macenko", "data.stain=macenko")}


@pytest.mark.parametrize("name", REFUSED)
def test_networks_that_need_the_whole_image_are_refused(slide, name):
    value, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        open_image(slide, describe(mpp=None if name == "image_size" else 0.5, **{name: value}), input_mpp=0.5)


@pytest.mark.slow
def test_a_large_slide_takes_little_memory(tmp_path, run_module):
    """14,000 x 14,000 pixels are 588 MB; without levels, so that everything comes from the finest."""
    write_pyramid(tmp_path / "a.tif", (14_000, 14_000), mpp=0.25, downsamples=(1,))
    (tmp_path / "read.py").write_text(READ)
    done = run_module("read")
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 450  # MiB, of which 256 are OpenSlide's


READ = """
from pathlib import Path
from tests.prediction.descriptions import describe
from unet_exp.prediction.opening import open_image
from unet_exp.run.memory import peak_memory_mb

before = peak_memory_mb()
image = open_image(Path("a.tif"), describe(mpp=4.0), input_mpp=None)
assert image.picture(1000).shape == (1000, 1000, 3)
image.reader.read(0, 0, *image.reader.shape)
print(peak_memory_mb() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="needs the real images")
def test_real_tissue_as_a_slide(tmp_path):
    path = next((REAL_DATA / "bcss" / "images").glob("*MPP-0.2500.png"))
    pixels = read_image(path)
    write_pyramid(tmp_path / "a.tif", pixels.shape[:2], mpp=0.25, image=lambda y, x: pixels[y, x])
    picture = open_image(path, describe(mpp=0.5), input_mpp=0.25)
    slide = open_image(tmp_path / "a.tif", describe(mpp=0.5), input_mpp=None)
    assert slide.reader.shape == picture.reader.shape
    assert np.abs(whole(slide).astype(int) - whole(picture)).max() <= 1


def test_the_generator_writes_what_it_is_told(tmp_path):
    write_pyramid(tmp_path / "a.tif", (700, 1100), mpp=0.5, downsamples=(1, 2.5))
    with openslide.OpenSlide(tmp_path / "a.tif") as file:
        assert file.level_dimensions == ((1100, 700), (440, 280))
        read = np.asarray(file.read_region((100, 50), 0, (1000, 650)))[..., :3]
    y, x = np.mgrid[50:700, 100:1100]
    np.testing.assert_array_equal(read, tissue(y, x))

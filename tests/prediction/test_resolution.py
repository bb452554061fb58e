"""How large the pixels of a file are: every place where it may stand, and what is not believed."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.prediction.descriptions import describe
from tests.prediction.slides import write_pyramid
from unet_exp.errors import DataError, UserError
from unet_exp.prediction.resolution import fitted_size, grid_size, ome_mpp, picture_mpp, slide_mpp

PIXELS = np.zeros((20, 30, 3), np.uint8)


def save(path, dots_per_inch, **options):
    dots = dots_per_inch if isinstance(dots_per_inch, tuple) else (dots_per_inch, dots_per_inch)
    Image.fromarray(PIXELS).save(path, dpi=dots, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
@pytest.mark.parametrize("mpp", [0.25, 0.5, 2.0, 10.0])
def test_dots_per_inch_are_micrometres_per_pixel(tmp_path, suffix, mpp):
    assert picture_mpp(save(tmp_path / f"a{suffix}", 25400 / mpp)) == pytest.approx(mpp, rel=1e-4)


def test_a_jpeg_gives_dots_per_inch_or_centimetre(tmp_path):
    assert picture_mpp(save(tmp_path / "inch.jpg", 50800)) == pytest.approx(0.5)
    content = bytearray((tmp_path / "inch.jpg").read_bytes())
    place = content.index(b"JFIF\0") + 7  # after the name and the version: unit, density across and down
    content[place : place + 5] = bytes([2]) + (40000).to_bytes(2) * 2
    (tmp_path / "centimetre.jpg").write_bytes(content)
    assert picture_mpp(tmp_path / "centimetre.jpg") == pytest.approx(0.25)


@pytest.mark.parametrize(("unit", "per_unit"), [("INCH", 25400 / 0.25), ("CENTIMETER", 1e4 / 0.25)])
def test_tiff_resolution_has_a_unit(tmp_path, unit, per_unit):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, resolution=(per_unit, per_unit), resolutionunit=unit)
    assert picture_mpp(tmp_path / "a.tif") == pytest.approx(0.25)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
@pytest.mark.parametrize("dots", [72, 96, 150, 300, 600])
def test_print_resolutions_are_not_believed(tmp_path, suffix, dots):
    assert picture_mpp(save(tmp_path / f"a{suffix}", dots)) is None


def test_the_limit_of_what_is_believed(tmp_path):
    assert picture_mpp(save(tmp_path / "a.png", 25400 / 24.9)) == pytest.approx(24.9, rel=1e-3)
    assert picture_mpp(save(tmp_path / "b.png", 25400 / 25.1)) is None


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_files_that_say_nothing(tmp_path, suffix):
    Image.fromarray(PIXELS).save(tmp_path / f"a{suffix}")
    assert picture_mpp(tmp_path / f"a{suffix}") is None


def test_a_tiff_without_unit_says_nothing(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, resolution=(4, 4), resolutionunit="NONE")
    assert picture_mpp(tmp_path / "a.tif") is None


@pytest.mark.parametrize(("unit", "per_unit"), [("micron", 4), ("um", 4), ("mm", 4000), ("\\u00B5m", 4)])
def test_imagej(tmp_path, unit, per_unit):
    about = f"ImageJ=1.53k\nunit={unit}\n"
    tifffile.imwrite(
        tmp_path / "a.tif",
        PIXELS,
        description=about,
        metadata=None,
        resolution=(per_unit, per_unit),
        resolutionunit="NONE",
    )
    assert picture_mpp(tmp_path / "a.tif") == pytest.approx(0.25)


def test_imagej_without_a_length(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, imagej=True)
    assert picture_mpp(tmp_path / "a.tif") is None


@pytest.mark.parametrize(("unit", "size"), [("µm", 0.25), ("nm", 250), ("mm", 0.00025), ("cm", 0.000025)])
def test_ome(tmp_path, unit, size):
    about = {"PhysicalSizeX": size, "PhysicalSizeXUnit": unit, "PhysicalSizeY": size, "PhysicalSizeYUnit": unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", PIXELS, metadata={"axes": "YXS", **about}, photometric="rgb")
    assert picture_mpp(tmp_path / "a.ome.tif") == pytest.approx(0.25)


def test_ome_in_micrometres_by_default_and_where_it_says_nothing():
    text = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image><Pixels {}/></Image></OME>'
    assert ome_mpp(text.format('PhysicalSizeX="0.5" PhysicalSizeY="0.51"')) == (0.5, 0.51)
    assert ome_mpp(text.format('PhysicalSizeX="0.5"')) is None
    assert ome_mpp(text.format('PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1"')) is None
    assert ome_mpp(text.format('PhysicalSizeX="half" PhysicalSizeY="1"')) is None
    assert ome_mpp("<OME") is None
    assert ome_mpp("a photograph") is None


def test_pixels_that_are_not_square(tmp_path):
    assert picture_mpp(save(tmp_path / "a.png", (25400 / 0.5, 25400 / 0.51))) == pytest.approx(0.505, rel=1e-4)
    with pytest.raises(DataError, match=r"b\.png: its pixels are not square, 0\.5 µm wide and 0\.55 µm high"):
        picture_mpp(save(tmp_path / "b.png", (25400 / 0.5, 25400 / 0.55)))


def test_slides(tmp_path):
    import openslide

    for options in ({}, {"aperio": True}):
        write_pyramid(tmp_path / "a.tif", (300, 300), mpp=0.2528, **options)
        with openslide.OpenSlide(tmp_path / "a.tif") as file:
            assert slide_mpp(file.properties, tmp_path) == pytest.approx(0.2528)
    assert slide_mpp({"openslide.mpp-x": "0.5"}, tmp_path) is None
    assert slide_mpp({"openslide.mpp-x": "352.8", "openslide.mpp-y": "352.8"}, tmp_path) is None  # 72 dots per inch
    with pytest.raises(DataError, match="not square"):
        slide_mpp({"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.25"}, tmp_path)


def test_a_damaged_picture_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"a\.png"):
        picture_mpp(tmp_path / "a.png")


def test_sizes_of_grids(tmp_path):
    assert grid_size((100, 201), 0.25, describe(mpp=0.5), tmp_path) == (50, 100)  # halves go to the even number
    assert grid_size((1, 1), 0.01, describe(mpp=0.5), tmp_path) == (1, 1)
    assert grid_size((100, 200), None, describe(), tmp_path) == (100, 200)
    with pytest.raises(UserError, match="input_mpp="):
        grid_size((100, 200), None, describe(mpp=0.5), tmp_path)
    assert fitted_size((100, 200), 50) == (25, 50)
    assert fitted_size((100, 200), 500) == (100, 200)

"""Overlays and areas: what is tinted, what is not, and how much of it there is."""

import csv

import numpy as np
import pytest
from PIL import Image

from tests.prediction.predictions import PALETTE, blobs, description, prediction
from unet_exp.prediction.saving import SAVERS, area_rows, volume_rows, write_areas
from unet_exp.prediction.saving.areas import class_counts, row_bands
from unet_exp.prediction.saving.legend import Entry, draw_legend, percentage


def overlay(tmp_path, labels, image, **options):
    path = tmp_path / f"image{SAVERS['overlay'].suffix}"
    SAVERS["overlay"].save(prediction(labels, image=image, size=image.shape[:2], **options), path)
    return np.asarray(Image.open(path)).astype(int)


def grey(height, width):
    return np.full((height, width, 3), 160, np.uint8)


def test_scored_classes_are_tinted_and_outlined_and_the_rest_is_left_alone(tmp_path):
    labels = np.zeros((200, 300), np.uint8)
    labels[40:160, 50:150] = 1
    drawn = overlay(tmp_path, labels, grey(200, 300))
    assert np.abs(drawn[8:32, 8:292] - 160).max() <= 6
    np.testing.assert_allclose(drawn[100, 100], 0.6 * 160 + 0.4 * np.array(PALETTE[1]), atol=6)
    np.testing.assert_allclose(drawn[100, 50], PALETTE[1], atol=40)  # the outline
    assert np.abs(drawn[100, 48] - 160).max() <= 25  # lies inside, thin


def test_borders_between_classes_that_are_not_scored_are_not_drawn(tmp_path):
    labels = np.zeros((100, 300), np.uint8)
    labels[:, 150:] = 1
    drawn = overlay(tmp_path, labels, grey(100, 300), scored=[2])
    assert np.abs(drawn[:100, :300] - 160).max() <= 3


@pytest.mark.parametrize("size", [(50, 60), (100, 100), (700, 900), (30, 1500), (1500, 30), (1, 1)])
def test_the_legend_lies_below_the_image_on_white(tmp_path, size):
    drawn = overlay(tmp_path, np.zeros(size, np.uint8), grey(*size))
    height, width = size
    assert drawn.shape[0] > height + 12
    assert drawn.shape[1] >= width
    assert np.abs(drawn[: max(1, height - 8), : max(1, width - 8)] - 160).max() <= 12
    assert (drawn[-1] > 250).all()
    below = drawn[height + 8 :]
    for color in PALETTE[1:4]:
        assert (np.abs(below - color).max(-1) < 30).sum() > 20


def test_large_images_become_smaller_and_small_ones_do_not_grow(tmp_path):
    drawn = overlay(tmp_path, np.zeros((50, 5000), np.uint8), grey(50, 5000))
    assert drawn.shape[1] == 4096
    assert overlay(tmp_path, np.zeros((50, 400), np.uint8), grey(50, 400)).shape[1] == 400


@pytest.mark.parametrize("labels_size", [(20, 30), (200, 300), (801, 1203)])
def test_labels_of_another_size_cover_the_same_part_of_the_image(tmp_path, labels_size):
    labels = np.zeros(labels_size, np.uint8)
    labels[: labels_size[0] // 2, : labels_size[1] // 2] = 2
    drawn = overlay(tmp_path, labels, grey(200, 300))
    tinted = np.abs(drawn[:200, :300] - 160).max(-1) > 20
    assert tinted[4:96, 4:146].all()
    assert not tinted[108:190, :].any()
    assert not tinted[:190, 158:].any()


def test_no_entry_of_a_legend_is_cut_off():
    entries = [Entry(f"class {'x' * number}", 1 / 3, (255, 0, 0)) for number in range(0, 60, 4)]
    for width in (10, 300, 4096):
        legend = draw_legend(entries, width, 20)
        assert (legend[:, -1] == 255).all()
        assert (legend[-1] == 255).all()
        assert (np.abs(legend.astype(int) - (255, 0, 0)).max(-1) < 1).sum() > 15 * len(entries) * 15


def test_fractions_do_not_call_a_little_nothing():
    assert [percentage(value) for value in (0, 1e-9, 0.0004, 0.0006, 0.5, 0.9996, 1)] == [
        "0 %", "<0.1 %", "<0.1 %", "0.1 %", "50.0 %", ">99.9 %", "100 %",
    ]  # fmt: skip


def test_areas_are_those_of_the_pixels():
    labels = blobs((120, 90), 3)
    rows = area_rows(prediction(labels, size=(240, 180), mpp=0.25))
    assert [row["class"] for row in rows] == ["outside", "tumor", "stroma", "other"]
    for index, row in enumerate(rows):
        assert row["image"] == "image"
        assert row["pixels"] == (labels == index).sum()
        assert row["fraction"] == pytest.approx((labels == index).mean())
        assert row["area_mm2"] == pytest.approx((labels == index).sum() * 4 * 0.25**2 / 1e6)
    assert sum(row["area_mm2"] for row in rows) == pytest.approx(240 * 180 * 0.25**2 / 1e6)


def test_areas_without_the_size_of_a_pixel_are_empty_in_the_table(tmp_path):
    write_areas(area_rows(prediction(blobs((10, 10), 2))), tmp_path / "areas.csv")
    rows = list(csv.DictReader((tmp_path / "areas.csv").open()))
    assert list(rows[0]) == ["image", "class", "pixels", "fraction", "area_mm2"]
    assert {row["area_mm2"] for row in rows} == {""}


def test_counting_in_bands_misses_no_row():
    labels = blobs((203, 61), 4)
    for pixels in (1, 61, 1000, 10**6):
        bands = list(row_bands(labels.shape, pixels, multiple=2))
        assert np.concatenate([labels[band] for band in bands]).shape == labels.shape
        assert all(band.start % 2 == 0 for band in bands)
    np.testing.assert_array_equal(class_counts(labels, 6), np.bincount(labels.ravel(), minlength=6))


@pytest.mark.parametrize(("voxel_mm3", "expected"), [(2.0, 0.06), (None, None)])
def test_volumes_are_in_millilitres(voxel_mm3, expected):
    rows = volume_rows("volume-1", description(), [60, 30, 10, 0], voxel_mm3)
    assert rows[1] == {
        "image": "volume-1",
        "class": "tumor",
        "voxels": 30,
        "fraction": 0.3,
        "volume_ml": expected,
    }


def test_every_name_has_another_suffix():
    assert set(SAVERS) == {"labels", "overlay", "probabilities", "pyramid", "geojson"}
    assert len({saver.suffix for saver in SAVERS.values()}) == len(SAVERS)

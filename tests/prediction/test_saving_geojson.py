"""Outlines as GeoJSON: the rules of RFC 7946, what QuPath reads, and the same map when drawn again."""

import json

import numpy as np
import pytest
import shapely
from PIL import Image

from tests.conftest import REAL_DATA
from tests.prediction.geojson_rules import crossings, draw, overlap, read_valid, signed_area
from tests.prediction.predictions import blobs, prediction
from unet_exp.prediction.saving import SAVERS

NAMES = ["outside", "tumor", "stroma", "other"]


def saved(tmp_path, labels, **options):
    path = tmp_path / f"image{SAVERS['geojson'].suffix}"
    SAVERS["geojson"].save(prediction(labels, **options), path)
    return read_valid(path)


def areas(feature):
    return [abs(signed_area(np.asarray(ring, float))) for ring in feature["geometry"]["coordinates"]]


def test_the_rules_find_what_is_wrong():
    bow_tie = np.array([(0, 0), (2, 2), (2, 0), (0, 2), (0, 0)], float)
    assert crossings(bow_tie) == 1
    square = np.array([(0, 0), (2, 0), (2, 2), (0, 2), (0, 0)], float)
    assert crossings(square) == 0
    assert signed_area(square) == 4
    assert signed_area(square[::-1]) == -4


def test_an_empty_map_has_no_features(tmp_path):
    assert saved(tmp_path, np.zeros((50, 40))) == []


def test_a_map_of_one_class_is_one_rectangle(tmp_path):
    (feature,) = saved(tmp_path, np.ones((50, 40)))
    assert areas(feature) == [2000]
    assert np.asarray(feature["geometry"]["coordinates"][0]).max(0).tolist() == [40, 50]


def test_one_pixel_covers_its_square_in_pixels_of_the_file(tmp_path):
    labels = np.zeros((20, 30))
    labels[3, 5] = 2
    (feature,) = saved(tmp_path, labels, size=(40, 90), mpp=0.5)
    corners = {tuple(point) for point in feature["geometry"]["coordinates"][0]}
    assert corners == {(15, 6), (18, 6), (18, 8), (15, 8)}
    assert feature["properties"]["classification"] == {"name": "stroma", "color": [37, 99, 235]}
    assert feature["properties"]["area_um2"] == pytest.approx(2 * 3 * 0.25)


def test_without_the_size_of_a_pixel_no_area_is_claimed(tmp_path):
    (feature,) = saved(tmp_path, np.ones((5, 5)))
    assert "area_um2" not in feature["properties"]


def test_pixels_that_touch_at_a_corner_are_two_regions(tmp_path):
    labels = np.zeros((10, 10))
    labels[4, 4] = labels[5, 5] = 1
    assert [areas(feature) for feature in saved(tmp_path, labels)] == [[1], [1]]


def test_holes_and_islands_in_them_and_large_ones_first(tmp_path):
    labels = np.zeros((60, 60))
    labels[5:55, 5:55] = 1
    labels[15:45, 15:45] = 0
    labels[25:35, 25:35] = 1
    labels[28:30, 28:30] = 2
    found = saved(tmp_path, labels)
    assert [areas(feature) for feature in found] == [[2500, 900], [100, 4], [4]]


def test_background_classes_have_no_features(tmp_path):
    labels = blobs((120, 150), 4)
    found = saved(tmp_path, labels, scored=[2])
    assert {feature["properties"]["classification"]["name"] for feature in found} == {"stroma"}


def test_names_may_hold_quotes_and_any_letter(tmp_path):
    name = 'Drüse "A"\\\n腺 µ'
    (feature,) = saved(tmp_path, np.ones((5, 5)), class_names=["", name], scored=[1])
    assert feature["properties"]["classification"]["name"] == name


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("smooth", [1.0, 2.0, 8.0])
def test_drawn_again_it_is_the_same_map(tmp_path, smooth, seed):
    labels = blobs((160, 200), 4, seed=seed, smooth=smooth)
    drawn = draw(saved(tmp_path, labels), labels.shape, NAMES)
    assert min(overlap(labels, drawn, index) for index in (1, 2, 3)) > 0.99


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("share", [0.002, 0.05, 1.0])
def test_specks_are_kept(tmp_path, classes, share):
    generator = np.random.default_rng(3)
    labels = blobs((90, 110), classes, seed=1)
    noisy = generator.random(labels.shape) < share
    labels[noisy] = generator.integers(0, classes, noisy.sum())
    drawn = draw(saved(tmp_path, labels), labels.shape, NAMES)
    assert min(overlap(labels, drawn, index) for index in range(1, classes)) > 0.99


@pytest.mark.parametrize("size", [(401, 517), (100, 130), (777, 260), (33, 2000), (60, 61)])
def test_scales_that_are_no_whole_numbers_keep_outlines_valid(tmp_path, size):
    labels = blobs((200, 260), 4, smooth=3.0)
    found = saved(tmp_path, labels, size=size)
    polygons = [shapely.Polygon(f["geometry"]["coordinates"][0], f["geometry"]["coordinates"][1:]) for f in found]
    assert shapely.is_valid(polygons).all()
    drawn = draw(found, labels.shape, NAMES, scale=(size[0] / 200, size[1] / 260))
    assert min(overlap(labels, drawn, index) for index in (1, 2, 3)) > 0.99
    edge = np.concatenate([np.asarray(f["geometry"]["coordinates"][0], float) for f in found]).max(0)
    assert edge.tolist() == [size[1], size[0]]


def test_simplified_outlines_have_fewer_points_than_pixels_have_corners(tmp_path):
    rows, columns = np.mgrid[:300, :300]
    disc = (rows - 150) ** 2 + (columns - 150) ** 2 < 120**2
    (feature,) = saved(tmp_path, disc)
    corners = np.count_nonzero(
        np.diff(np.pad(disc, 1).astype(int), axis=0)[:, :-1] - np.diff(np.pad(disc, 1).astype(int), axis=0)[:, 1:]
    )
    assert len(feature["geometry"]["coordinates"][0]) < 0.6 * corners
    assert areas(feature)[0] == pytest.approx(disc.sum(), rel=0.005)


def test_two_files_of_one_prediction_are_the_same(tmp_path):
    made = prediction(blobs((90, 90), 3), mpp=0.5)
    for name in ("a", "b"):
        SAVERS["geojson"].save(made, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert len(json.loads((tmp_path / "a").read_text())["features"]) > 3


def test_areas_count_pixels_however_the_outline_was_simplified(tmp_path):
    labels = blobs((200, 200), 4, smooth=3.0)
    found = saved(tmp_path, labels, mpp=2.0)
    for index in (1, 2, 3):
        total = sum(
            f["properties"]["area_um2"] for f in found if f["properties"]["classification"]["name"] == NAMES[index]
        )
        assert total == pytest.approx(4 * (labels == index).sum())
    sizes = [feature["properties"]["area_um2"] for feature in found]
    assert sizes == sorted(sizes, reverse=True)


def real_masks():
    return [
        *sorted((REAL_DATA / "bcss").glob("masks*/*.png")),
        *sorted(REAL_DATA.glob("isic2017/*GroundTruth/*.png"))[:20],
    ]


@pytest.mark.slow
@pytest.mark.skipif(not real_masks(), reason="needs the real masks")
@pytest.mark.parametrize("path", real_masks(), ids=lambda path: path.stem)
def test_real_masks_drawn_again(tmp_path, path):
    codes, labels = np.unique(np.asarray(Image.open(path)), return_inverse=True)
    labels = labels.astype(np.uint8)
    names = ["rest", *(f"code {code}" for code in codes[1:])]
    found = saved(tmp_path, labels, class_names=names, scored=range(1, len(names)))
    drawn = draw(found, labels.shape, names)
    assert min(overlap(labels, drawn, index) for index in range(1, len(names))) > 0.99

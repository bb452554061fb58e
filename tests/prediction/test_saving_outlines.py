"""Outlines found block by block are those of the whole map, without gaps between neighbours."""

import numpy as np
import pytest
import shapely
from scipy import ndimage

from tests.prediction.predictions import blobs
from unet_exp.prediction.saving.outlines import outline_regions


def noisy(shape, classes, seed, share):
    generator = np.random.default_rng(seed)
    labels = blobs(shape, classes, seed=seed, smooth=4.0)
    where = generator.random(shape) < share
    labels[where] = generator.integers(0, classes, where.sum())
    return labels


def components(labels, classes):
    """Class and size of every 4-connected region."""
    found = []
    for index in classes:
        numbered, _ = ndimage.label(labels == index)
        found += [(index, int(size)) for size in np.bincount(numbered.ravel())[1:]]
    return sorted(found)


CASES = [(seed, share) for seed in range(2) for share in (0.0, 0.01, 0.3, 1.0)]


@pytest.mark.parametrize(("seed", "share"), CASES)
@pytest.mark.parametrize("simplify", [False, True])
def test_every_region_is_found_once_with_its_pixels(seed, share, simplify):
    labels = noisy((70, 90), 4, seed, share)
    for block in (16, 37, 1000):
        outlines = outline_regions(labels, [1, 3], block=block, simplify=simplify)
        found = sorted(zip(outlines.classes.tolist(), outlines.pixels.tolist(), strict=True))
        assert found == components(labels, [1, 3])


@pytest.mark.parametrize(("seed", "share"), CASES)
def test_blocks_leave_no_trace(seed, share):
    labels = noisy((70, 90), 4, seed, share)
    whole = outline_regions(labels, [1, 2], block=1000, simplify=False)
    np.testing.assert_array_equal(shapely.area(whole.polygons), whole.pixels)
    for block in (16, 37, 64):
        joined = outline_regions(labels, [1, 2], block=block, simplify=False)
        assert shapely.is_valid(joined.polygons).all()
        assert shapely.equals(joined.polygons, whole.polygons).all()


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "share"), CASES)
@pytest.mark.parametrize("block", [23, 64, 1000])
def test_neighbours_share_their_border_vertex_for_vertex(seed, share, block):
    labels = noisy((70, 90), 4, seed, share)
    outlines = outline_regions(labels, [0, 1, 2, 3], block=block)
    assert shapely.is_valid(outlines.polygons).all()
    assert shapely.coverage_is_valid(outlines.polygons)
    assert shapely.area(outlines.polygons).sum() == pytest.approx(labels.size)
    assert shapely.union_all(outlines.polygons).equals(shapely.box(0, 0, 90, 70))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("specks", [0, 300])
@pytest.mark.parametrize("block", [100, 130, 1000])
def test_simplified_neighbours_do_too(seed, specks, block):
    labels = blobs((260, 300), 4, seed=seed)
    places = np.random.default_rng(seed).integers(0, 260, (2, specks))
    labels[tuple(places)] = (labels[tuple(places)] + 1) % 4
    outlines = outline_regions(labels, [1, 2, 3], block=block)
    exact = outline_regions(labels, [1, 2, 3], block=block, simplify=False)
    points = shapely.get_num_coordinates(outlines.polygons).sum() - 5 * specks
    assert points < 0.8 * shapely.get_num_coordinates(exact.polygons).sum() - 5 * specks
    assert shapely.is_valid(outlines.polygons).all()
    assert shapely.coverage_is_valid(outlines.polygons)
    tiny = exact.pixels < 9
    assert tiny.sum() >= 0.5 * specks
    assert shapely.equals(outlines.polygons[tiny], exact.polygons[tiny]).all()


def test_a_ring_across_four_blocks_keeps_its_hole_and_what_lies_in_it():
    labels = np.zeros((40, 40), np.uint8)
    labels[4:36, 4:36] = 1
    labels[8:32, 8:32] = 0  # a hole across the borders of blocks
    labels[5:7, 5:7] = 2  # one inside a block
    labels[18:22, 18:22] = 1  # an island in the hole
    outlines = outline_regions(labels, [1], block=20)
    assert outlines.pixels.tolist() == [32**2 - 24**2 - 4, 16]
    assert [len(polygon.interiors) for polygon in outlines.polygons] == [2, 0]
    np.testing.assert_array_equal(shapely.area(outlines.polygons), outlines.pixels)


def test_simplification_spares_what_is_thin():
    labels = np.zeros((400, 400), np.uint8)
    labels[100:300, 100:300] = 1
    labels[50, 20:380] = labels[350, 350] = labels[5:7, 5:7] = 1
    labels[np.arange(310, 340), np.arange(10, 40)] = 1
    outlines = outline_regions(labels, [1])
    np.testing.assert_array_equal(shapely.area(outlines.polygons), outlines.pixels)


def test_no_region_at_all():
    outlines = outline_regions(np.zeros((30, 30), np.uint8), [1], block=8)
    assert (len(outlines.polygons), len(outlines.classes), len(outlines.pixels)) == (0, 0, 0)

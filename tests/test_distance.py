"""HD95 and surface Dice against brute force with SciPy, and corner cases by name."""

import numpy as np
import pytest
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from unet_exp.distance import boundary_scores, surface_distances


def random_blobs(seed, shape=(37, 52)):
    generator = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    mask = np.zeros(shape, bool)
    for _ in range(3):
        center = generator.uniform(0, 1, 2) * shape
        mask |= np.hypot(rows - center[0], columns - center[1]) < generator.uniform(2, 12)
    return mask


def reference(prediction, truth):
    """Every pair of boundary pixels, no crop, no distance transform."""
    points = [np.argwhere(mask & ~binary_erosion(mask)) for mask in (prediction, truth)]
    between = cdist(*points)
    return between.min(1), between.min(0)


@pytest.mark.parametrize("seed", range(12))
def test_equals_brute_force(seed):
    prediction, truth = random_blobs(seed), random_blobs(seed + 100)
    there, back = reference(prediction, truth)
    for distances, expected in zip(surface_distances(prediction, truth), (there, back), strict=True):
        np.testing.assert_allclose(np.sort(distances), np.sort(expected), atol=1e-12)
    scores = boundary_scores(prediction, truth, tolerance=3)
    assert scores.hd95 == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), abs=1e-12)
    assert scores.surface_dice == pytest.approx(np.mean(np.concatenate([there, back]) <= 3), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_equals_monai(seed):
    metrics = pytest.importorskip("monai.metrics")
    import torch

    prediction, truth = random_blobs(seed), random_blobs(seed + 100)
    pair = [torch.from_numpy(mask)[None, None].float() for mask in (prediction, truth)]
    scores = boundary_scores(prediction, truth, tolerance=2)
    hd95 = metrics.compute_hausdorff_distance(*pair, include_background=True, percentile=95)
    assert scores.hd95 == pytest.approx(float(hd95), rel=1e-5)
    surface = metrics.compute_surface_dice(*pair, class_thresholds=[2.0], include_background=True)
    assert scores.surface_dice == pytest.approx(float(surface), rel=1e-5)


def test_the_definition_is_not_the_pooled_one():
    """A speck far away is 7 % of one direction and 4 % of both: MedPy's pooled percentile would not see it."""
    truth = np.zeros((40, 120), bool)
    truth[10:30, 10:30] = True
    prediction = truth.copy()
    prediction[15:18, 100:102] = True
    there, back = reference(prediction, truth)
    pooled = np.percentile(np.concatenate([there, back]), 95)
    assert boundary_scores(prediction, truth, tolerance=1).hd95 == np.percentile(there, 95) > pooled + 10


def test_shifted_square():
    truth, prediction = np.zeros((2, 30, 30), bool)
    truth[5:15, 5:15], prediction[5:15, 8:18] = True, True
    assert boundary_scores(prediction, truth, tolerance=2.9).hd95 == 3
    assert boundary_scores(prediction, truth, tolerance=3).surface_dice == 1
    assert boundary_scores(prediction, truth, tolerance=2.9).surface_dice < 1


def test_perfect_prediction():
    mask = random_blobs(0)
    assert boundary_scores(mask, mask, tolerance=0.5) == (0, 1)


def test_both_empty_is_right():
    empty = np.zeros((8, 6), bool)
    assert boundary_scores(empty, empty, tolerance=1) == (0, 1)


@pytest.mark.parametrize("missed", [True, False], ids=["missed", "false alarm"])
def test_one_empty_gets_the_diagonal(missed):
    masks = np.zeros((2, 30, 40), bool)
    masks[int(missed), 3, 3] = True
    assert boundary_scores(*masks, tolerance=1) == (50, 0)
    assert boundary_scores(*masks, tolerance=1, spacing=0.5) == (25, 0)


def test_structure_at_the_border_has_its_boundary_there():
    truth, prediction = np.zeros((2, 20, 20), bool)
    truth[:], prediction[:, :10] = True, True
    there, back = reference(prediction, truth)
    found = surface_distances(prediction, truth)
    assert [len(d) for d in found] == [len(there), len(back)] == [56, 76]
    assert max(found[1]) == max(back) == 10


def test_spacing_scales_distances_and_is_the_unit_of_the_tolerance():
    prediction, truth = random_blobs(3), random_blobs(103)
    plain, scaled = (boundary_scores(prediction, truth, tolerance=4 * s, spacing=s) for s in (1, 0.25))
    assert scaled.hd95 == pytest.approx(plain.hd95 / 4)
    assert scaled.surface_dice == plain.surface_dice < 1


def test_large_distances_are_exact():
    truth, prediction = np.zeros((2, 60, 3000), bool)
    truth[0, 0], prediction[59, 2999] = True, True
    assert boundary_scores(prediction, truth, tolerance=1).hd95 == pytest.approx(np.hypot(59, 2999), rel=1e-7)


def test_masks_of_different_size_are_refused():
    with pytest.raises(ValueError, match="one size"):
        boundary_scores(np.zeros((3, 4), bool), np.zeros((4, 3), bool), tolerance=1)

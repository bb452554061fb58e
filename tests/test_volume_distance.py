"""HD95 and surface Dice of volumes against SciPy and MONAI, corner cases by name."""

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion, distance_transform_edt

from tests.data.volumes import canonical
from tests.fake import save_nifti
from unet_exp.data._image import PictureError
from unet_exp.data._voxel_spacing import voxel_spacing
from unet_exp.volume_distance import surface_voxels, volume_boundary_scores

SPACING = (2.5, 0.7, 0.8)


def random_blobs(seed, shape=(9, 24, 30)):
    generator = np.random.default_rng(seed)
    axes = np.indices(shape)
    volume = np.zeros(shape, bool)
    for _ in range(3):
        center = generator.uniform(0, 1, 3) * shape
        distance = np.linalg.norm((axes.T - center) * (2, 1, 1), axis=-1).T
        volume |= distance < generator.uniform(2, 9)
    return volume


def score(prediction, truth, *, tolerance=1.5, spacing=SPACING):
    return volume_boundary_scores(prediction, truth, shape=truth.shape, tolerance=tolerance, spacing=spacing)


def reference(prediction, truth, spacing):
    """Distances of all surface voxels by a distance transform of the whole volume."""
    edges = [mask & ~binary_erosion(mask) for mask in (prediction, truth)]
    return [distance_transform_edt(~b, sampling=spacing)[a] for a, b in (edges, edges[::-1])]


@pytest.mark.parametrize("seed", range(8))
def test_equals_scipy(seed):
    prediction, truth = random_blobs(seed), random_blobs(seed + 100)
    there, back = reference(prediction, truth, SPACING)
    found = score(prediction, truth)
    assert found.hd95 == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), abs=1e-12)
    assert found.surface_dice == np.mean(np.concatenate([there, back]) <= 1.5)
    assert found.surface_dice < 1


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy")
@pytest.mark.parametrize("seed", range(4))
def test_equals_monai(seed):
    metrics = pytest.importorskip("monai.metrics")
    prediction, truth = random_blobs(seed), random_blobs(seed + 100)
    pair = [torch.from_numpy(mask)[None, None].float() for mask in (prediction, truth)]
    found = score(prediction, truth)
    hd95 = metrics.HausdorffDistanceMetric(include_background=True, percentile=95)(*pair, spacing=SPACING)
    assert found.hd95 == pytest.approx(float(hd95), rel=1e-5)
    surface = metrics.SurfaceDiceMetric([1.5], include_background=True)(*pair, spacing=SPACING)
    assert found.surface_dice == pytest.approx(float(surface), rel=1e-5)


def test_the_surface_is_that_of_an_erosion_with_six_neighbours():
    volume = random_blobs(3)
    expected = np.argwhere(volume & ~binary_erosion(volume))
    assert (surface_voxels(volume) == expected).all()


def test_perfect_prediction():
    volume = random_blobs(0)
    assert score(volume, volume) == (0, 1)


def test_both_empty_is_right():
    empty = np.zeros((3, 4, 5), bool)
    assert score(empty, empty) == (0, 1)


@pytest.mark.parametrize("missed", [True, False], ids=["missed", "false alarm"])
def test_one_empty_gets_the_diagonal_in_millimetres(missed):
    volumes = np.zeros((2, 6, 30, 40), bool)
    volumes[int(missed), 3, 3, 3] = True
    diagonal = np.sqrt((6 * 2.5) ** 2 + (30 * 0.7) ** 2 + (40 * 0.8) ** 2)
    assert score(*volumes) == (pytest.approx(diagonal), 0)


def test_a_single_voxel_in_a_single_slice():
    prediction, truth = np.zeros((2, 1, 8, 8), bool)
    prediction[0, 2, 2], truth[0, 2, 5] = True, True
    assert score(prediction, truth).hd95 == pytest.approx(3 * 0.8)


def test_a_structure_one_slice_off_is_as_far_as_slices_are_apart():
    prediction, truth = np.zeros((2, 6, 12, 12), bool)
    truth[1:4, 3:9, 3:9], prediction[2:5, 3:9, 3:9] = True, True
    assert score(prediction, truth).hd95 == 2.5
    assert score(prediction, truth, tolerance=2.5).surface_dice == 1


def test_a_tolerance_of_whole_voxels_is_not_missed_by_rounding():
    """7 * 0.7 - 5 * 0.7 is more than 1.4 in floating point."""
    prediction, truth = np.zeros((2, 1, 12, 12), bool)
    prediction[0, 7, 5], truth[0, 5, 5] = True, True
    assert score(prediction, truth, tolerance=2 * 0.7).surface_dice == 1


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PSR", "SAL"])
def test_spacing_is_that_of_slices_rows_and_columns(tmp_path, axes):
    save_nifti(tmp_path / "volume.nii", np.zeros((3, 4, 5), np.int16), axes, SPACING)
    assert voxel_spacing(tmp_path / "volume.nii") == pytest.approx(SPACING)
    assert canonical(tmp_path / "volume.nii").shape == (3, 4, 5)


def test_a_damaged_header_is_named(tmp_path):
    (tmp_path / "volume.nii").write_bytes(b"no volume")
    with pytest.raises(PictureError, match=r"volume.nii: its header does not tell the size of a voxel"):
        voxel_spacing(tmp_path / "volume.nii")

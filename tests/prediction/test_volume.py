"""Volumes reach the network as in training, and what is predicted lies over the file, however it is oriented."""

import nibabel
import numpy as np
import pytest

from tests import fake
from tests.data import volumes
from tests.prediction.descriptions import describe
from unet_exp.errors import DataError, UserError
from unet_exp.prediction.opening import open_volume

AXES = ["LPS", "RAS", "PSR", "SAL", "LPI", "IRA"]
NETWORK = describe(slices=3, in_channels=3, intensity_window=(-200.0, 200.0), mean=[0.5, 0.5, 0.5], std=[0.2, 0.2, 0.2])


@pytest.fixture
def values():
    return np.random.default_rng(0).integers(-400, 400, (4, 5, 6)).astype(np.int16)


def slices(volume):
    return np.stack([reader.read(0, 0, *reader.shape) for reader in volume.readers])


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_slices_are_seen_with_their_neighbours_whatever_the_orientation(tmp_path, values, axes, suffix):
    fake.save_nifti(tmp_path / f"v{suffix}", values, axes)
    volume = open_volume(tmp_path / f"v{suffix}", NETWORK)
    grey = volumes.windowed(values)
    assert volume.shape == (4, 5, 6)
    expected = np.stack([grey[[0, 0, 1, 2]], grey, grey[[1, 2, 3, 3]]], axis=-1)
    np.testing.assert_array_equal(slices(volume), expected)
    np.testing.assert_array_equal(volume.readers[1].read(1, 2, 3, 2), expected[1, 1:4, 2:4])


def test_the_network_sees_what_scoring_sees(tmp_path):
    root = fake.lits(tmp_path / "lits")
    source = volumes.source(root)
    network = describe(slices=source.slices, in_channels=source.slices, intensity_window=tuple(source.window))
    for case in source.scan().cases[:3]:
        volume = open_volume(case.image, network)
        image, labels = source.read_full(case)

        class Stored:
            pass

        stored = Stored()
        stored.image, stored.labels = image, labels
        for number, reader in enumerate(volume.readers):
            scored, _ = source.read_evaluation(case, stored, number)
            np.testing.assert_array_equal(reader.read(0, 0, *reader.shape), scored)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_labels_lie_over_the_file(tmp_path, values, axes, suffix):
    fake.save_nifti(tmp_path / "v.nii", values, axes, (2.0, 0.7, 0.8))
    labels = np.random.default_rng(1).integers(0, 3, (4, 5, 6)).astype(np.uint8)
    volume = open_volume(tmp_path / "v.nii", NETWORK)
    volume.save_labels(labels, tmp_path / "out" / f"labels{suffix}")
    before, after = nibabel.load(tmp_path / "v.nii"), nibabel.load(tmp_path / "out" / f"labels{suffix}")
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.shape == before.shape
    assert after.get_data_dtype() == np.uint8
    assert after.header.get_zooms() == before.header.get_zooms()
    fake.save_nifti(tmp_path / "expected.nii", labels, axes)  # which turns by itself
    np.testing.assert_array_equal(np.asanyarray(after.dataobj), nibabel.load(tmp_path / "expected.nii").get_fdata())
    np.testing.assert_array_equal(volumes.canonical(tmp_path / "out" / f"labels{suffix}"), labels)
    assert volume.voxel_mm3 == pytest.approx(2.0 * 0.7 * 0.8)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"labels{suffix}"]


def test_the_header_is_kept_but_for_what_concerns_grey_values(tmp_path, values):
    oblique = np.array([[0.7, 0.1, 0, -90], [-0.1, 0.7, 0.2, 40], [0, -0.3, 2.0, 7], [0, 0, 0, 1]])
    file = nibabel.Nifti1Image(values.transpose(2, 1, 0)[..., None], oblique)  # one volume with a fourth axis
    file.set_qform(np.diag([0.7, 0.7, 2.0, 1]), code=1)
    file.set_sform(oblique, code=2)
    file.header.set_slope_inter(2.0, -1000)
    file.header.set_xyzt_units("mm", "sec")
    file.header["cal_max"] = 240
    file.header["descrip"] = b"abdomen"
    file.to_filename(tmp_path / "v.nii")
    volume = open_volume(tmp_path / "v.nii", NETWORK)
    labels = np.random.default_rng(1).integers(0, 3, volume.shape).astype(np.uint8)
    volume.save_labels(labels, tmp_path / "labels.nii.gz")
    before, after = nibabel.load(tmp_path / "v.nii"), nibabel.load(tmp_path / "labels.nii.gz")
    assert after.shape == (6, 5, 4, 1)
    for matrix in ("get_sform", "get_qform"):
        kept, code = getattr(after.header, matrix)(coded=True)
        expected, expected_code = getattr(before.header, matrix)(coded=True)
        np.testing.assert_array_equal(kept, expected)
        assert code == expected_code
    assert after.header["descrip"] == before.header["descrip"]
    assert after.header.get_xyzt_units() == ("mm", "sec")
    assert after.header["cal_max"] == 0
    assert set(np.unique(after.get_fdata())) == {0, 1, 2}
    np.testing.assert_array_equal(volumes.canonical(tmp_path / "labels.nii.gz"), labels)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("micron", 1e-9), ("meter", 1e9), (None, 1)])
def test_the_volume_of_a_voxel_is_in_cubic_millimetres(tmp_path, values, unit, factor):
    file = nibabel.Nifti2Image(values, np.diag([2.0, 3.0, -4.0, 1]))
    file.header.set_xyzt_units(unit)
    file.to_filename(tmp_path / "v.nii")
    assert open_volume(tmp_path / "v.nii", NETWORK).voxel_mm3 == pytest.approx(24 * factor)


def test_nifti_of_the_second_version_stays_that(tmp_path, values):
    nibabel.Nifti2Image(values, np.eye(4)).to_filename(tmp_path / "v.nii")
    volume = open_volume(tmp_path / "v.nii", NETWORK)
    volume.save_labels(np.zeros(volume.shape, np.uint8), tmp_path / "labels.nii")
    assert isinstance(nibabel.load(tmp_path / "labels.nii"), nibabel.Nifti2Image)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_is_cut_off_is_refused(tmp_path, values, suffix, share):
    path = tmp_path / f"v{suffix}"
    fake.save_nifti(path, np.tile(values, (4, 4, 4)))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match=path.name):
        open_volume(path, NETWORK)


def test_a_network_of_pictures_reads_no_volume(tmp_path, values):
    fake.save_nifti(tmp_path / "v.nii", values)
    with pytest.raises(UserError, match=r"v\.nii: is a volume, but unet-test reads pictures"):
        open_volume(tmp_path / "v.nii", describe())

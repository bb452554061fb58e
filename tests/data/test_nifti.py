"""NIfTI volumes: turned by their affine matrices, read slab by slab, every fault found and named."""

import gzip
import itertools
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests import fake
from tests.data.volumes import canonical, config, source, windowed
from unet_exp.build import build_datamodule
from unet_exp.data import _nifti
from unet_exp.data._collection import examine_collection
from unet_exp.errors import DataError

ALL_AXES = [
    "".join(sides) for order in itertools.permutations(("LR", "PA", "SI")) for sides in itertools.product(*order)
]


@pytest.fixture(scope="module")
def lits_root(tmp_path_factory) -> Path:
    return fake.lits(tmp_path_factory.mktemp("lits"))


# Reading


@pytest.mark.parametrize("axes", ALL_AXES)
def test_every_orientation_gives_the_same_volume(axes, tmp_path):
    hounsfield = np.random.default_rng(0).integers(-400, 400, (3, 4, 5)).astype(np.int16)
    fake.save_nifti(tmp_path / "v.nii", hounsfield, axes, (5.0, 0.7, 0.8))
    assert (canonical(tmp_path / "v.nii") == hounsfield).all()  # the file is what it should be
    assert (_nifti.read_volume(tmp_path / "v.nii", (-200, 200))[..., 0] == windowed(hounsfield)).all()
    assert _nifti.Volume(tmp_path / "v.nii").axes == axes


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_slope_and_intercept_of_the_header_count(name, tmp_path):
    stored = np.arange(-60, 60, dtype=np.int16).reshape(4, 5, 6)
    image = nibabel.Nifti1Image(stored, np.diag([1, 1, 2, 1]))
    image.header.set_slope_inter(2.5, -30)
    image.to_filename(tmp_path / name)
    assert canonical(tmp_path / name).min() == -60 * 2.5 - 30
    values = np.concatenate([slab for _, slab in _nifti.Volume(tmp_path / name).slabs()])
    assert np.array_equal(values, canonical(tmp_path / name))


def test_the_window_is_configurable_and_rounds_to_the_nearest(tmp_path):
    hounsfield = np.arange(-100, 0, dtype=np.int16).reshape(4, 5, 5)
    fake.save_nifti(tmp_path / "v.nii", hounsfield)
    grey = _nifti.read_volume(tmp_path / "v.nii", (-90, -20))[..., 0]
    assert (grey == windowed(hounsfield, -90, -20)).all()
    assert set(grey[hounsfield <= -90]) == {0}
    assert set(grey[hounsfield >= -20]) == {255}


def test_a_fourth_axis_of_one_is_no_axis(tmp_path):
    hounsfield = np.random.default_rng(0).integers(-400, 400, (3, 4, 5, 1)).astype(np.int16)
    nibabel.Nifti1Image(hounsfield, np.eye(4)).to_filename(tmp_path / "v.nii")
    assert (
        _nifti.read_volume(tmp_path / "v.nii", (-200, 200))[..., 0] == windowed(canonical(tmp_path / "v.nii"))
    ).all()


def test_no_whole_volume_is_held_as_floats(tmp_path, monkeypatch):
    monkeypatch.setattr(_nifti, "_SLAB", 2**16)
    fake.save_nifti(tmp_path / "v.nii", np.zeros((64, 128, 128), np.int16), "RAI")
    tracemalloc.start()
    grey = _nifti.read_volume(tmp_path / "v.nii", (-200, 200))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < grey.nbytes + 20 * 2**16  # the result, and a slab in a few forms; as float32 it alone has 4 x


def test_slabs_make_no_difference(lits_root, monkeypatch):
    path = next(lits_root.rglob("volume-4.nii*"))
    whole = _nifti.read_volume(path, (-200, 200))
    monkeypatch.setattr(_nifti, "_SLAB", 1)
    assert (_nifti.read_volume(path, (-200, 200)) == whole).all()


# Findings


def volume(root: Path, name: str = "volume-0.nii", shape: tuple[int, ...] = (3, 20, 20)) -> Path:
    fake.save_nifti(root / name, np.full(shape, -1000, np.int16))
    return root / name


def mask(root: Path, name: str = "segmentation-0.nii", shape: tuple[int, ...] = (3, 20, 20)) -> Path:
    codes = np.zeros(shape, np.uint8)
    codes[:, 2:5, 2:4] = 2
    fake.save_nifti(root / name, codes)
    return root / name


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def changed(path: Path, change) -> None:
    """Write a file again, as floats, after `change` was made to its voxels."""
    file = nibabel.load(path)
    voxels = file.get_fdata().astype(np.float32)
    change(voxels)
    nibabel.Nifti1Image(voxels, file.affine).to_filename(path)


def wrong_checksum(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-6] ^= 255  # the check sum and the length of the content are the last 8 bytes
    path.write_bytes(content)


def no_directions(path: Path) -> None:
    file = nibabel.Nifti1Image(nibabel.load(path).get_fdata().astype(np.int16), None)
    file.header.set_sform(np.zeros((4, 4)), code=1)
    file.to_filename(path)


FAULTS = {
    "cut": (lambda root: cut(volume(root)), "unreadable", "volume-0.nii"),
    "cut gzip": (lambda root: cut(volume(root, "volume-0.nii.gz")), "damaged", "volume-0.nii.gz"),
    "check sum": (lambda root: wrong_checksum(volume(root, "volume-0.nii.gz")), "damaged", "volume-0.nii.gz"),
    "no NIfTI": (lambda root: volume(root).write_text("<html>"), "unreadable", "volume-0.nii"),
    "size": (lambda root: mask(root, shape=(3, 20, 21)), "size_mismatch", "segmentation-0.nii"),
    "code": (lambda root: changed(mask(root), lambda v: v.put(0, 3)), "unknown_code", "segmentation-0.nii"),
    "fraction": (lambda root: changed(mask(root), lambda v: v.put(0, 0.5)), "no_codes", "segmentation-0.nii"),
    "negative": (lambda root: changed(mask(root), lambda v: v.put(0, -1)), "no_codes", "segmentation-0.nii"),
    "NaN mask": (lambda root: changed(mask(root), lambda v: v.put(0, np.nan)), "no_codes", "segmentation-0.nii"),
    "NaN": (lambda root: changed(volume(root), lambda v: v.put(7, np.nan)), "not_finite", "volume-0.nii"),
    "infinite": (lambda root: changed(volume(root), lambda v: v.put(7, np.inf)), "not_finite", "volume-0.nii"),
    "two volumes": (lambda root: volume_of_shape(root, (3, 20, 20, 2)), "not_a_volume", "volume-0.nii"),
    "one slice": (lambda root: volume_of_shape(root, (20, 20)), "not_a_volume", "volume-0.nii"),
    "no directions": (lambda root: no_directions(volume(root)), "not_a_volume", "volume-0.nii"),
    "lonely volume": (lambda root: volume(root, "volume-1.nii"), "missing_mask", "volume-1.nii"),
    "lonely mask": (lambda root: mask(root, "segmentation-1.nii"), "missing_image", "segmentation-1.nii"),
    "twice": (lambda root: volume(root / "again"), "same_name", "volume-0.nii"),
}


def volume_of_shape(root: Path, shape: tuple[int, ...]) -> None:
    nibabel.Nifti1Image(np.full(shape, -1000, np.int16), np.eye(4)).to_filename(root / "volume-0.nii")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_finding_and_stops_training(name, tmp_path):
    spoil, kind, file = FAULTS[name]
    root = tmp_path / "lits"
    if "gz" not in file:
        volume(root)
    mask(root)
    spoil(root)
    module = build_datamodule(config(root, "data.split.scheme=official", store_folder=str(tmp_path / "store")))
    found = examine_collection(module.source, tmp_path / "store").findings
    assert [(finding.kind, finding.file.name) for finding in found] == [(kind, file)]
    assert str(tmp_path) not in found[0].detail.replace(str(root), "")  # true also after the dataset was moved
    with pytest.raises(DataError, match=f"(?s)1 fault in the files.*{file}"):
        _ = module.collection


def test_axes_of_a_mask_that_differ_are_turned_and_told(tmp_path):
    codes = np.zeros((4, 20, 22), np.uint8)
    codes[1:3, 2:9, 3:8] = 2
    hounsfield = np.where(codes == 2, 100, -1000).astype(np.int16)
    fake.save_nifti(tmp_path / "volume-0.nii", hounsfield, "LPS")
    fake.save_nifti(tmp_path / "segmentation-0.nii", codes, "RAI")
    lits = source(tmp_path, "data.split.scheme=official")
    (finding,) = examine_collection(lits, tmp_path / "store").findings
    assert (finding.kind, finding.file.name) == ("axes_differ", "segmentation-0.nii")
    assert "LPS" in finding.detail
    assert "RAI" in finding.detail
    image, labels = lits.read_full(lits.cases()[0])
    assert ((image[..., 0] > 0) == (labels == 1)).all()
    assert (labels == (codes == 2)).all()


def test_unusual_volumes_are_told(tmp_path):
    fake.save_nifti(tmp_path / "volume-0.nii", np.full((3, 4, 5), 24, np.int16), "SPL")
    fake.save_nifti(tmp_path / "segmentation-0.nii", np.full((3, 4, 5), 2, np.uint8), "SPL")
    findings = examine_collection(source(tmp_path, "data.split.scheme=official"), tmp_path / "store").findings
    assert [finding.kind for finding in findings] == ["axes_permuted", "not_hounsfield"]
    assert "lowest value is 24" in findings[1].detail


def test_the_same_voxels_are_the_same_content_however_they_are_stored(tmp_path):
    hounsfield = np.random.default_rng(0).integers(-900, 400, (4, 6, 5)).astype(np.int16)
    other = hounsfield.copy()
    other[2, 3, 1] += 1
    written = {0: (hounsfield, "LPS"), 1: (hounsfield.astype(np.float64), "IRA"), 2: (other, "LPS")}
    for number, (values, axes) in written.items():
        ending = ".nii.gz" if number == 1 else ".nii"
        fake.save_nifti(tmp_path / f"volume-{number}{ending}", values, axes)
        fake.save_nifti(tmp_path / f"segmentation-{number}.nii", np.full(values.shape, 2, np.uint8), axes)
    examinations = examine_collection(source(tmp_path), tmp_path / "store").examinations
    contents = [examinations[f"volume-{number}"].image_content for number in written]
    assert contents[0] == contents[1] != contents[2]
    assert len({examination.mask_content for examination in examinations.values()}) == 1
    assert examinations["volume-1"].image_shape == (4, 6, 5)
    assert examinations["volume-1"].code_pixels == {2: 120}


def test_a_gz_file_is_checked_to_its_end(tmp_path):
    path = volume(tmp_path, "volume-0.nii.gz")
    _nifti.check_gzip(path)
    path.write_bytes(gzip.compress(b"\0" * 400) + b"rubbish")
    with pytest.raises(DataError, match="not whole"):
        _nifti.check_gzip(path)

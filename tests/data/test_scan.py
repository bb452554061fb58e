"""Files without a partner and names that are not understood: all are named, in every layout."""

import re
import shutil

import pytest

from tests import fake
from tests.conftest import REAL_DATA
from tests.data.test_verify import found, make_source, named, only
from unet_exp.data._collection import examine_collection


def test_bcss_files_without_a_partner_or_with_another_name(tmp_path):
    root = fake.bcss(tmp_path / "data")
    image, mask, odd, unknown = sorted(path.name for path in (root / "images").iterdir())[:4]
    (root / "images" / image).unlink()
    (root / "masks" / mask).unlink()
    scale_free = re.sub(r"MPP-.*", "MAG-0.png", unknown)
    for folder in (root / "images", root / "masks"):
        (folder / odd).rename(folder / "slide 7.png")
        (folder / unknown).rename(folder / scale_free)
    (root / "masks" / "._TCGA-A2.png").write_bytes(b"left there by a Mac")
    assert named(found("bcss", root)) == {
        ("missing_image", image),
        ("missing_mask", mask),
        ("bad_name", "slide 7.png"),
        ("unknown_resolution", scale_free),
    }


@pytest.mark.parametrize("place", ["masks", "."])
def test_bcss_masks_alone_are_named(tmp_path, place):
    root = fake.bcss(tmp_path / "data")
    shutil.rmtree(root / "images")
    names = {path.name for path in (root / "masks").iterdir()}
    findings = found("bcss", root if place == "masks" else root / "masks")
    assert named(findings) == {("missing_image", name) for name in names}
    assert all("rgbs_colorNormalized" in finding.detail for finding in findings)


def test_isic_files_without_a_partner_and_names_in_two_parts(tmp_path):
    root = fake.isic(tmp_path / "data", year=2017)
    first, second, third = sorted(path.stem for path in (root / "ISIC-2017_Training_Data").glob("*.jpg"))[:3]
    validation = min(path.stem for path in (root / "ISIC-2017_Validation_Data").glob("*.jpg"))
    (root / "ISIC-2017_Training_Part1_GroundTruth" / f"{second}_segmentation.png").unlink()
    (root / "ISIC-2017_Training_Data" / f"{third}.jpg").unlink()
    for folder, ending in (("Data", ".jpg"), ("Part1_GroundTruth", "_segmentation.png")):
        old = root / f"ISIC-2017_Validation_{folder}" / f"{validation}{ending}"
        old.rename(root / f"ISIC-2017_Validation_{folder}" / f"{first}{ending}")
    assert named(found("isic2017", root)) == {
        ("missing_mask", f"{second}.jpg"),
        ("missing_image", f"{third}_segmentation.png"),
        ("same_name", f"{first}.jpg"),
        ("other_part", f"{first}.jpg"),
    }


def test_isic_images_in_the_folder_of_another_part_are_told(tmp_path):
    root = fake.isic(tmp_path / "data", year=2017)
    image = min((root / "ISIC-2017_Validation_Data").glob("*.jpg"))
    mask = root / "ISIC-2017_Validation_Part1_GroundTruth" / f"{image.stem}_segmentation.png"
    image.rename(root / "ISIC-2017_Training_Data" / image.name)
    mask.rename(root / "ISIC-2017_Training_Part1_GroundTruth" / mask.name)
    finding = only("other_part", found("isic2017", root))
    assert finding.severity == "warning"
    assert "Officially it is a val image" in finding.detail
    missing = [finding for finding in found("isic2017", root, complete=True) if finding.kind == "incomplete_part"]
    assert [finding.file.name for finding in missing] == [
        "ISIC-2017_Training_Data",
        "ISIC-2017_Validation_Data",
        "ISIC-2017_Test_v2_Data",
    ]
    assert "148 of the 150 official val images are missing" in missing[1].detail


@pytest.mark.parametrize("lost", ["ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"])
def test_half_a_part_is_one_finding(tmp_path, lost):
    root = fake.isic(tmp_path / "data", year=2017)
    shutil.rmtree(root / lost)
    finding = only("half_part", found("isic2017", root))
    assert finding.file.parent == root
    assert finding.file.name != lost
    assert lost in finding.detail


def test_ph2_files_without_a_partner_and_a_second_copy(tmp_path):
    root = fake.ph2(tmp_path / "data")
    home = root / "PH2 Dataset images"
    (home / "IMD001" / "IMD001_lesion" / "IMD001_lesion.bmp").unlink()
    (home / "IMD002" / "IMD002_Dermoscopic_Image" / "IMD002.bmp").unlink()
    shutil.copytree(home / "IMD000", root / "copy" / "IMD000")
    faults = [finding for finding in found("ph2", root) if finding.severity == "fault"]
    assert named(faults) == {
        ("missing_mask", "IMD001.bmp"),
        ("missing_image", "IMD002_lesion.bmp"),
        ("same_name", "IMD000.bmp"),
        ("same_name", "IMD000_lesion.bmp"),
    }


def test_real_masks_without_images_are_named(tmp_path):
    folder = REAL_DATA / "bcss" / "masks_without_rgb"
    if not folder.is_dir():
        pytest.skip("the shared BCSS regions are not here")
    findings = examine_collection(make_source("bcss", folder), tmp_path).findings
    assert named(findings) == {("missing_image", path.name) for path in folder.iterdir()}

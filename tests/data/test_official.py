"""Official splits: complete, disjoint, unchanged, and the same as the real folders where those are here."""

import csv
import hashlib
import re
from collections import Counter

import pytest
from hatchling.builders.wheel import WheelBuilder

from tests.conftest import REAL_DATA, REPOSITORY
from unet_exp.data._official import official_parts

FOLDER = REPOSITORY / "unet_exp" / "data" / "official"
PARTS = {"train", "val", "test"}
COUNTS = {
    "isic2016": {"train": 900, "test": 379},
    "isic2017": {"train": 2000, "val": 150, "test": 600},
    "isic2018": {"train": 2594, "val": 100, "test": 1000},
}
# (version, start of the SHA-256 of the rows): who changes a list raises its version, and then this table.
RELEASED = {
    "bcss": ("1", "a708d5de38c4532a"),
    "isic2016": ("1", "fadf156ae6d306e3"),
    "isic2017": ("1", "8da7b6a80f388f0c"),
    "isic2018": ("1", "83c6f8377e98d465"),
}


def read(name):
    """Comment lines and other lines of a list, without the code under test."""
    lines = (FOLDER / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("#")], [line for line in lines if not line.startswith("#")]


def ids(name, *parts):
    return {key for key, part in official_parts(name).items() if part in (parts or PARTS)}


def regions():
    return {row["institution"]: int(row["regions"]) for row in csv.DictReader(read("bcss")[1])}


@pytest.mark.parametrize("name", COUNTS)
def test_every_part_has_the_official_number_of_images(name):
    assert Counter(official_parts(name).values()) == COUNTS[name]


@pytest.mark.parametrize("name", RELEASED)
def test_nothing_is_listed_twice_so_that_parts_are_disjoint(name):
    _comments, (_header, *rows) = read(name)
    assert len(official_parts(name)) == len(rows)
    assert set(official_parts(name).values()) <= PARTS


@pytest.mark.parametrize("name", COUNTS)
def test_keys_are_isic_image_ids(name):
    assert [key for key in official_parts(name) if not re.fullmatch(r"ISIC_\d{7}", key)] == []


@pytest.mark.parametrize("name", RELEASED)
def test_a_list_changes_only_with_its_version(name):
    comments, rows = read(name)
    digest = hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]
    assert (comments[0].removeprefix("# version: "), digest) == RELEASED[name]


@pytest.mark.parametrize("name", RELEASED)
def test_the_comments_name_sources_and_the_counts_of_the_rows(name):
    comments, rows = read(name)
    assert any(line.startswith("# source") for line in comments)
    counts = Counter()
    for row in csv.DictReader(rows):
        counts[row["part"]] += int(row.get("regions", 1))
    (stated,) = [line for line in comments if line.startswith("# counts: ")]
    assert dict(re.findall(r"(\w+)=(\d+)", stated)) == {part: str(count) for part, count in counts.items()}


def test_bcss_lists_151_regions_of_21_institutions():
    counts = Counter()
    for institution, part in official_parts("bcss").items():
        counts[part] += regions()[institution]
    assert counts == {"train": 76, "val": 30, "test": 45}
    assert len(regions()) == 21
    assert sum(regions().values()) == 151


def test_bcss_list_and_reader_agree():
    assert ids("bcss", "test") == {"OL", "LL", "E2", "EW", "GM", "S3"}
    assert ids("bcss", "val") == {"BH", "C8", "A8", "A1", "E9"}


def test_isic2018_trains_on_images_of_the_years_before_and_is_scored_on_new_ones():
    """A known property of the challenges: a mistyped id of the training list would break it."""
    before = ids("isic2016") | ids("isic2017")
    assert ids("isic2018", "train") <= before
    assert not ids("isic2018", "val", "test") & before


def test_a_dataset_without_a_list_has_no_official_parts():
    assert official_parts("ph2") == {}


def test_the_mapping_is_read_only_and_read_once():
    with pytest.raises(TypeError):
        official_parts("isic2016")["ISIC_0000000"] = "test"
    assert official_parts("isic2016") is official_parts("isic2016")


def test_the_wheel_holds_every_list():
    packed = {file.distribution_path for file in WheelBuilder(str(REPOSITORY)).recurse_included_files()}
    assert {f"unet_exp/data/official/{name}.csv" for name in RELEASED} <= packed
    assert set(RELEASED) == {path.stem for path in FOLDER.iterdir()}


@pytest.mark.skipif(not (REAL_DATA / "isic2017").is_dir(), reason="the shared ISIC images are not here")
def test_isic2017_training_ids_are_those_of_the_official_folder():
    folder = REAL_DATA / "isic2017" / "ISIC-2017_Training_Data"
    assert ids("isic2017", "train") == {path.stem for path in folder.glob("*.jpg")}


@pytest.mark.skipif(not (REAL_DATA / "bcss").is_dir(), reason="the shared BCSS regions are not here")
def test_bcss_regions_are_those_of_the_official_table():
    table = (REAL_DATA / "bcss" / "meta" / "roiBounds.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert Counter(row.split("-")[1] for row in table) == regions()

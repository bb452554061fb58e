"""Downloading the ISIC challenges from an imitation of their bucket."""

import dataclasses

import pytest

from tests.data.download import fakes
from tests.data.download import server as faults
from unet_exp.data._download import isic
from unet_exp.data._download.isic import download_isic, official_folders
from unet_exp.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def few_files(monkeypatch):
    """The official folders with three files each."""
    small = {
        year: {part: dataclasses.replace(folders, count=3) for part, folders in parts.items()}
        for year, parts in isic.FOLDERS.items()
    }
    monkeypatch.setattr(isic, "FOLDERS", small)


@pytest.mark.parametrize("top", [True, False])
@pytest.mark.parametrize("year", [2016, 2017, 2018])
def test_all_official_folders_lie_side_by_side(server, settings, tmp_path, year, top):
    fakes.isic(server, year, official_folders(year), top=top)
    download_isic(tmp_path, year, settings, base_url=server.url)
    assert fakes.files(tmp_path) == {folder.name for folder in official_folders(year)} | {"archives"}
    for folder in official_folders(year):
        names = fakes.files(tmp_path / folder.name)
        assert {name.lower() for name in names} == {f"isic_{i:07d}{folder.ending}" for i in range(3)}
        assert (tmp_path / folder.name / min(names)).read_bytes() == f"{folder.name}0".encode()


def test_archives_may_be_deleted_without_being_fetched_again(server, settings, tmp_path):
    fakes.isic(server, 2017, official_folders(2017), top=True)
    download_isic(tmp_path, 2017, settings, base_url=server.url)
    for archive in (tmp_path / "archives").glob("*.zip"):
        archive.unlink()
    server.requests.clear()
    download_isic(tmp_path, 2017, settings, base_url=server.url)
    assert server.requests == []


def test_only_what_is_incomplete_is_fetched(server, settings, tmp_path):
    fakes.isic(server, 2017, official_folders(2017), top=True)
    download_isic(tmp_path, 2017, settings, base_url=server.url)
    for archive in (tmp_path / "archives").glob("*.zip"):
        archive.unlink()
    (tmp_path / "ISIC-2017_Validation_Data/ISIC_0000001.jpg").unlink()
    server.requests.clear()
    download_isic(tmp_path, 2017, settings, base_url=server.url)
    assert [request.path for request in server.requests] == ["/2017/ISIC-2017_Validation_Data.zip"]
    assert (tmp_path / "ISIC-2017_Validation_Data/ISIC_0000001.jpg").is_file()


def test_archives_that_the_user_brought_are_used(server, settings, tmp_path):
    archives = fakes.isic(server, 2017, official_folders(2017), top=True)
    (tmp_path / "archives").mkdir()
    for name, content in archives.items():
        (tmp_path / "archives" / f"{name}.zip").write_bytes(content)
    download_isic(tmp_path, 2017, settings, base_url=server.url)
    assert server.requests == []
    assert (tmp_path / "ISIC-2017_Test_v2_Data/ISIC_0000002.jpg").is_file()


def test_a_broken_transfer_is_continued(server, settings, tmp_path):
    archives = fakes.isic(server, 2016, official_folders(2016), top=True)
    name = "ISBI2016_ISIC_Part1_Training_Data"
    server.resources[f"/2016/{name}.zip"].faults = [faults.truncated(100)]
    download_isic(tmp_path, 2016, settings, base_url=server.url)
    first, second = server.requests_for(f"/2016/{name}.zip")
    assert (first.sent, second.range, second.sent) == (100, "bytes=100-", len(archives[name]) - 100)


def test_one_missing_archive_does_not_keep_the_others(server, settings, tmp_path):
    fakes.isic(server, 2018, official_folders(2018), top=True)
    del server.resources["/2018/ISIC2018_Task1_Test_GroundTruth.zip"]
    with pytest.raises(DataError, match=r"1 of 6 files .*\n.*ISIC2018_Task1_Test_GroundTruth\.zip: .* 404"):
        download_isic(tmp_path, 2018, settings, base_url=server.url)
    assert len(fakes.files(tmp_path) - {"archives"}) == 5


def test_an_archive_with_too_few_files_is_refused_by_name(server, settings, tmp_path):
    fewer = [dataclasses.replace(folder, count=2) for folder in official_folders(2016)]
    fakes.isic(server, 2016, fewer, top=True)
    with pytest.raises(DataError, match=r"Training_Data\.zip holds 2 files \*\.jpg where 3 are official"):
        download_isic(tmp_path, 2016, settings, base_url=server.url)
    assert fakes.files(tmp_path) == {"archives"}


def test_an_unknown_year_is_a_mistake_of_configuration(settings, tmp_path):
    with pytest.raises(ConfigError, match="2016, 2017, 2018"):
        download_isic(tmp_path, 2019, settings)

"""The official zip files of the ISIC challenges, Task 1, unpacked as `unet_exp.data.isic` reads them."""

from dataclasses import dataclass
from pathlib import Path

from unet_exp.data._download._archive import extract_archive
from unet_exp.data._download._content import check_zip
from unet_exp.data._download._fetch import RemoteFile, failure, try_files
from unet_exp.data._download._folder import locked
from unet_exp.data._download._settings import DownloadSettings
from unet_exp.data._isic_folders import FOLDERS
from unet_exp.errors import ConfigError, DataError

BASE_URL = "https://isic-challenge-data.s3.amazonaws.com/"
"""Named by https://challenge.isic-archive.com/data/; the files of a year lie in a folder of that name."""

_IMAGE, _MASK = ".jpg", "_segmentation.png"  # in 2016 _Segmentation.png
_ARCHIVES = "archives"


@dataclass(frozen=True)
class OfficialFolder:
    """One folder of a challenge; its zip file has the same name.

    Args:
        name: Name of the folder.
        ending: How the names of its files end, in lower case.
        count: Number of those files.
    """

    name: str
    ending: str
    count: int

    def count_in(self, root: Path) -> int:
        """How many of its files lie under `root`."""
        folder = root / self.name
        if not folder.is_dir():
            return 0
        return sum(self.wants(path.name) for path in folder.iterdir())

    def wants(self, name: str) -> bool:
        """Whether a file of this name belongs to it; superpixels, licences and tables do not."""
        return name.lower().endswith(self.ending)


def official_folders(year: int) -> list[OfficialFolder]:
    """The folders of one year, images and masks of each part."""
    folders: list[OfficialFolder] = []
    for part in FOLDERS[year].values():
        folders.append(OfficialFolder(part.images, _IMAGE, part.count))
        folders.append(OfficialFolder(part.masks, _MASK, part.count))
    return folders


def download_isic(root: Path, year: int, settings: DownloadSettings, *, base_url: str = BASE_URL) -> None:
    """Fetch what is missing of one year into `root/archives` and unpack it side by side into `root`.

    A folder that is complete is neither fetched nor unpacked again, so the archives may be deleted afterwards.

    Args:
        root: Where the official folders are to lie.
        year: 2016, 2017 or 2018.
        settings: How patient to be.
        base_url: Folder of the server, above the years.

    Raises:
        DataError: If anything is still missing; lists every file with its reason.
        ConfigError: If there is no such year.
    """
    if year not in FOLDERS:
        raise ConfigError([f"data.year: there is no ISIC {year}; choose one of {', '.join(map(str, FOLDERS))}."])
    folders = official_folders(year)
    if all(folder.count_in(root) >= folder.count for folder in folders):
        return
    with locked(root):
        missing = [folder for folder in folders if folder.count_in(root) < folder.count]
        files = [_archive(root, year, folder, base_url) for folder in missing]
        failed = try_files(files, settings, title=f"ISIC {year}")
        problems = [problem for folder in missing if (problem := _unpack(root, folder))]
    if failed:
        raise failure(failed, len(files))
    if problems:
        raise DataError("\n".join(problems))


def _archive(root: Path, year: int, folder: OfficialFolder, base_url: str) -> RemoteFile:
    name = f"{folder.name}.zip"
    return RemoteFile(url=f"{base_url.rstrip('/')}/{year}/{name}", path=root / _ARCHIVES / name, check=check_zip)


def _unpack(root: Path, folder: OfficialFolder) -> str | None:
    """Unpack one archive if it is there; what is wrong with it."""
    archive = root / _ARCHIVES / f"{folder.name}.zip"
    if not archive.is_file():
        return None

    def verify(unpacked: Path) -> None:
        count = folder.count_in(unpacked)
        if count != folder.count:
            raise DataError(
                f"{archive} holds {count} files *{folder.ending} where {folder.count} are official. Nothing was "
                "unpacked; remove it and run the same command again to get it anew."
            )

    try:
        extract_archive(archive, root, folder=folder.name, wanted=folder.wants, verify=verify)
    except DataError as error:
        return str(error)
    return None

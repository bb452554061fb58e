"""Data that a person got by hand: from its owners by request, or from a file-sharing page."""

from pathlib import Path

from unet_exp.data._download._archive import extract_archive
from unet_exp.errors import DataError


def import_by_hand(source: Path, root: Path) -> None:
    """Unpack an archive that was got by hand (PH2, LiTS, the Drive release of BCSS) under `root`.

    Args:
        source: The archive. Of a folder nothing needs to be copied: data.root can point at it.
        root: The dataset's folder.

    Raises:
        DataError: If `source` does not exist, is a folder other than `root`, or is no archive that can be unpacked.
    """
    if source.is_dir():
        if root.is_dir() and source.samefile(root):
            return
        raise DataError(
            f"{source} is a folder already; nothing is copied. Use it where it is: data.root={source.resolve()}"
        )
    if not source.is_file():
        raise DataError(f"{source} does not exist. Give the archive that you have downloaded, or its unpacked folder.")
    extract_archive(source, root)

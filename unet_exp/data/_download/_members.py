"""What lies in a zip or tar file, one member after the other, in one form."""

import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from unet_exp.errors import DataError

_ENCRYPTED = 0x1
_LONGEST_PADDING = 1024
_TAR_MAGICS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")
_UNSUPPORTED = {b"Rar!\x1a\x07": "RAR", b"7z\xbc\xaf\x27\x1c": "7-Zip"}


@dataclass(frozen=True)
class Member:
    """One file in an archive.

    Args:
        path: Where it wants to be, relative to the target.
        size: Its unpacked size in bytes, as the archive declares it.
        open: Opens its unpacked content.
    """

    path: PurePosixPath
    size: int
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True)
class Contents:
    """The files of an archive.

    Args:
        members: In their order; may be read only once.
        total: Declared unpacked size of all, None where only reading everything would tell (tar).
    """

    members: Iterator[Member]
    total: int | None


@contextmanager
def open_archive(path: Path) -> Iterator[Contents]:
    """Open a zip or (compressed) tar file, recognised by its first bytes, and check its end marks on leaving.

    Raises:
        DataError: If it is neither, or encrypted, or a member is a link or would leave the target folder.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from None
    for magic, name in _UNSUPPORTED.items():
        if head.startswith(magic):
            raise DataError(
                f"{path} is a {name} archive, which Python cannot unpack. Unpack it with 7-Zip, unrar or bsdtar "
                "(`bsdtar -xf <file> -C <folder>`) and set data.root to the folder."
            )
    if head.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            files = [info for info in archive.infolist() if not info.is_dir()]
            yield Contents(_zip_members(path, archive, files), sum(info.file_size for info in files))
    elif head.startswith(_TAR_MAGICS) or tarfile.is_tarfile(path):
        with tarfile.open(path, "r:*") as tar:
            yield Contents(_tar_members(path, tar), None)
            _read_to_end(tar)
    else:
        raise DataError(f"{path} is neither a zip nor a tar archive; it begins with {head!r}.")


def _zip_members(path: Path, archive: zipfile.ZipFile, files: list[zipfile.ZipInfo]) -> Iterator[Member]:
    for info in files:
        if info.flag_bits & _ENCRYPTED:
            raise DataError(
                f"{path} is encrypted. Unpack it yourself with the password from its owners "
                "and set data.root to the folder."
            )
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise _unsafe(path, info.filename, "is a link or a device")

        def opened(info: zipfile.ZipInfo = info) -> IO[bytes]:
            return archive.open(info)

        yield Member(_safe_path(path, info.filename), info.file_size, opened)


def _tar_members(path: Path, archive: tarfile.TarFile) -> Iterator[Member]:
    for info in archive:
        if info.isdir():
            continue
        if not info.isfile():
            raise _unsafe(path, info.name, "is a link or a device")

        def opened(info: tarfile.TarInfo = info) -> IO[bytes]:
            content = archive.extractfile(info)
            assert content is not None  # only links and devices have none
            return content

        yield Member(_safe_path(path, info.name), info.size, opened)


def _read_to_end(tar: tarfile.TarFile) -> None:
    """Behind the last member lies the checksum of the compressed stream, which nobody else reads."""
    stream = tar.fileobj
    for _ in range(_LONGEST_PADDING):
        if stream is None or not stream.read(1 << 20):
            return
    raise tarfile.ReadError("the end mark is followed by more than 1 GiB")


def _safe_path(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.name or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise _unsafe(archive, name, "would be written outside the folder")
    return path


def _unsafe(archive: Path, name: str, why: str) -> DataError:
    return DataError(
        f"{archive}: the member {name!r} {why}. No dataset needs that; nothing was unpacked. Get the archive anew."
    )

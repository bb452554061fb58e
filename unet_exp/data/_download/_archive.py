"""Unpacking an archive that came from elsewhere: nothing leaves the folder, nothing half done stays."""

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.filesize import decimal

from unet_exp.data._download._folder import disk_error, locked, require_space
from unet_exp.data._download._members import Contents, Member, open_archive
from unet_exp.data._progress import Progress, progress
from unet_exp.errors import DataError

_CHUNK = 1 << 20
_RUBBISH = ("__MACOSX", ".DS_Store", "Thumbs.db")
# Below this no archive is taken for a bomb: small label files shrink a thousandfold.
_HARMLESS = 1 << 30
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    FileExistsError,  # two members of one name
    NotADirectoryError,  # a member inside another
)


def _anything(_: str) -> bool:
    return True


def _no_verification(_: Path) -> None:
    return None


def extract_archive(
    archive: Path,
    target: Path,
    *,
    folder: str | None = None,
    wanted: Callable[[str], bool] = _anything,
    verify: Callable[[Path], None] = _no_verification,
    max_bytes: int = 1 << 38,
    max_ratio: float = 100.0,
) -> None:
    """Unpack a zip or tar file under `target`.

    The files are unpacked into a temporary folder and moved into place when all of them are complete, whole folders
    at a time. Files that are already there with the same size are left as they are.

    Args:
        archive: A .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz file; its content decides, not its name.
        target: Folder to unpack into; made if it does not exist.
        folder: If given, everything ends up in `target/folder`, whether or not the archive has a top folder.
        wanted: Decides by a member's file name whether it is unpacked.
        verify: Called with the temporary folder before anything is moved; raises DataError to refuse it.
        max_bytes: Unpacked size from which on an archive is refused.
        max_ratio: Unpacked by packed size from which on an archive of more than 1 GiB is refused.

    Raises:
        DataError: If the archive is damaged, encrypted, unsafe or of an unknown kind, if it holds nothing that is
            wanted, if there is no room, or if other files of the same names are already there.
    """
    with locked(target):
        staging = target / f".unpacking-{archive.name}"
        try:
            shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
            content = staging / "content"
            content.mkdir(parents=True)
            with open_archive(archive) as contents, progress(f"Unpack {archive.name}", contents.total, "bytes") as bar:
                limit = min(max_bytes, max(_HARMLESS, int(max_ratio * archive.stat().st_size)))
                count = _unpack(contents, content, wanted, _Budget(archive, limit), bar)
            if not count:
                raise DataError(f"{archive} holds none of the files that are expected in it.")
            settled = _settle(content, folder)
            verify(settled)
            _refuse_conflicts(archive, settled, target)
            _move(settled, target)
        except _DAMAGE as error:
            raise _damaged(archive, error) from None
        except OSError as error:
            # gzip's own complaint about a checksum is an OSError without a number.
            raise (disk_error(target, error) if error.errno else _damaged(archive, error)) from None
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _damaged(archive: Path, error: Exception) -> DataError:
    return DataError(
        f"{archive} is damaged ({error or type(error).__name__}). Nothing was unpacked and the archive was left "
        "alone; remove it and get it again."
    )


def _settle(content: Path, folder: str | None) -> Path:
    """Give the files the folder name they shall have; the folder that holds everything."""
    if folder is None:
        return content
    source = content
    while len(entries := list(source.iterdir())) == 1 and entries[0].is_dir():
        source = entries[0]  # the archive's own top folder, however it is called
    settled = content.with_name("settled")
    settled.mkdir()
    source.replace(settled / folder)
    return settled


class _Budget:
    """Counts unpacked bytes, those declared and those written, and refuses a bomb."""

    def __init__(self, archive: Path, limit: int) -> None:
        self._archive = archive
        self._limit = limit
        self._declared = 0
        self._written = 0

    def declare(self, size: int) -> None:
        self._declared += size
        self._require(self._declared)

    def write(self, size: int) -> None:
        self._written += size
        self._require(self._written)

    def _require(self, size: int) -> None:
        if size > self._limit:
            raise DataError(
                f"{self._archive} ({decimal(self._archive.stat().st_size)}) would unpack to more than "
                f"{decimal(self._limit)}. That is no dataset but a mistake or an attack; nothing was unpacked."
            )


def _unpack(contents: Contents, folder: Path, wanted: Callable[[str], bool], budget: _Budget, bar: Progress) -> int:
    if contents.total is not None:
        budget.declare(contents.total)
        require_space(folder, contents.total)
    count = 0
    for member in contents.members:
        if contents.total is None:
            budget.declare(member.size)
            require_space(folder, member.size)
        if not wanted(member.path.name) or any(part in _RUBBISH for part in member.path.parts):
            bar.advance(member.size)
            continue
        _write(member, folder / member.path, budget, bar)
        count += 1
    return count


def _write(member: Member, path: Path, budget: _Budget, bar: Progress) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with member.open() as source, path.open("xb") as output:
        while chunk := source.read(_CHUNK):
            budget.write(len(chunk))
            output.write(chunk)
            bar.advance(len(chunk))
            size += len(chunk)
    if size != member.size:
        raise EOFError(f"{member.path} has {size} bytes instead of {member.size}")


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if not path.is_dir())


def _refuse_conflicts(archive: Path, source: Path, target: Path) -> None:
    places = ((path, target / path.relative_to(source)) for path in _files(source))
    other = [old for new, old in places if old.exists() and (old.is_dir() or old.stat().st_size != new.stat().st_size)]
    if other:
        raise DataError(
            f"{len(other)} files that {archive.name} holds are already in {target}, but with other content, "
            f"e.g. {other[0]}. They were left alone. Move them away, or choose another data.root."
        )


def _move(source: Path, target: Path) -> None:
    """Move what is in `source` into `target`: a folder that is new there as a whole, in one step."""
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if not place.exists():
            entry.replace(place)
        elif entry.is_dir():
            _move(entry, place)

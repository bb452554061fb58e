"""Large files that appear when they are complete, and of which nothing stays if they never are."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_MODE = 0o644


@contextmanager
def complete_file(path: Path) -> Iterator[IO[bytes]]:
    """Write to a file that takes the name `path` when the block ends, and vanishes if it raises.

    On Linux the file has no name until then, so that even a killed process leaves nothing.

    Args:
        path: Its folder exists.

    Raises:
        OSError: If the folder cannot be written; what `path` held before is untouched.
    """
    file = _unnamed_file(path.parent)
    if file is None:
        with _named_file(path) as file:
            yield file
        return
    with file:
        yield file
        _flush(file)
        temporary = _linked(file, path)
    _rename(temporary, path)


def _unnamed_file(folder: Path) -> IO[bytes] | None:
    """None where the system or the file system knows no such files."""
    try:
        handle = os.open(folder, os.O_TMPFILE | os.O_RDWR, _MODE)
    except (AttributeError, OSError):
        return None
    try:  # tifffile wants a path as the name of the file object
        return Path(f"/proc/self/fd/{handle}").open("w+b")
    except OSError:
        return None
    finally:
        os.close(handle)


@contextmanager
def _named_file(path: Path) -> Iterator[IO[bytes]]:
    """The same by way of a file with another name."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    try:
        with Path(name).open("w+b") as file:
            yield file
            _flush(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _rename(Path(name), path)


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fchmod(file.fileno(), _MODE)
    os.fsync(file.fileno())


def _linked(file: IO[bytes], path: Path) -> Path:
    """Give an unnamed file a name beside `path`."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    Path(name).unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:  # only with dir_fd does Python make the system follow the link in /proc
        os.link(f"/proc/self/fd/{file.fileno()}", Path(name).name, dst_dir_fd=folder)
    finally:
        os.close(folder)
    return Path(name)


def _rename(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

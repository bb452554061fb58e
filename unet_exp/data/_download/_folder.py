"""The folder that files arrive in: one process at a time, and an explanation when the disk is full."""

import errno
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from rich.filesize import decimal

from unet_exp.errors import DataError

_LOCK_NAME = ".download.lock"
_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your disk quota is used up",
    errno.EFBIG: "the file is larger than the file system, or the limit of this session (ulimit -f), allows",
}


def disk_error(folder: Path, error: OSError) -> DataError:
    """What a failed write means to the user.

    Args:
        folder: Where was written.
        error: What the operating system said.
    """
    reason = _FULL.get(error.errno or 0)
    if reason is None:
        return DataError(f"{folder}: cannot be written to ({error.strerror or error}). Choose another data.root.")
    return DataError(
        f"{folder}: {reason}. What is complete is kept; make room, then run the same command again to continue."
    )


def require_space(folder: Path, needed: int) -> None:
    """Stop before writing what cannot fit.

    Args:
        folder: An existing folder.
        needed: Bytes that will be written.

    Raises:
        DataError: If less is free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder}: {decimal(needed)} are still to be written, but only {decimal(free)} are free on this disk. "
            "Make room, or choose another data.root; then run the same command again."
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make `folder` and keep other processes that download into it waiting.

    Raises:
        DataError: If the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # is_singleton: taken twice by the same process, it counts instead of waiting for itself.
        lock = FileLock(folder / _LOCK_NAME, is_singleton=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            sys.stderr.write(f"Another process is filling {folder}; waiting until it is done.\n")
            lock.acquire()
    except FileExistsError:
        raise DataError(f"{folder} is a file, not a folder. Choose another data.root.") from None
    except OSError as error:
        raise disk_error(folder, error) from None
    try:
        yield
    finally:
        lock.release()

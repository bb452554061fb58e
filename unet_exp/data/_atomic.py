"""Folders that appear complete or not at all, made once however many processes ask for them."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from unet_exp.errors import DataError
from unet_exp.files import sync_folder


def make_once(folder: Path, is_current: Callable[[], bool], make: Callable[[Path], None]) -> None:
    """Have `make` fill a folder, unless it is current already.

    Several processes may call this at once: one makes it, the others wait. A crash, or a kill at any moment,
    leaves nothing but a hidden temporary folder, which the next call removes.

    Args:
        folder: Where the result shall be; what is there is replaced.
        is_current: Whether `folder` holds what is wanted; asked again once the lock is held.
        make: Writes into the empty folder it is given.

    Raises:
        DataError: If the folder's parent cannot be written.
    """
    if is_current():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.parent / f".{folder.name}.lock")
        lock.acquire()
    except OSError as error:
        raise DataError(f"{folder.parent}: cannot be written ({error.strerror or error}).") from None
    try:
        _remove_leftovers(folder)
        if not is_current():
            _make_and_move(folder, make)
    finally:
        lock.release()


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed processes have left; nobody else writes here while the lock is held."""
    for leftover in folder.parent.glob(f".{folder.name}-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _make_and_move(folder: Path, make: Callable[[Path], None]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        make(temporary)
        os.chmod(temporary, 0o755)  # noqa: PTH101 - mkdtemp makes it private
        if folder.exists():
            # Moved aside first, so that a kill in between leaves no half-deleted folder under the good name.
            folder.replace(Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent)) / "old")
        temporary.replace(folder)
        sync_folder(folder.parent)
    finally:
        _remove_leftovers(folder)

"""The file that remembers every trial. A launch killed in the middle of a line blocks nobody after it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import optuna
from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from unet_exp.errors import UserError

JOURNAL = "search.journal"


class _Lock:
    """A lock of the operating system, which ends with the process; Optuna's own, a file, outlives it."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


class _Backend(JournalFileBackend):
    """Optuna's journal; what a killed process has written of its last line is removed before the next one."""

    def __init__(self, path: Path, lock: _Lock) -> None:
        super().__init__(str(path), cast(Any, lock))
        self._path = path
        self._whole = lock

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._whole.acquire()
        try:
            _remove_torn_line(self._path)
            super().append_logs(logs)
        except OSError as error:
            raise UserError(f"{self._path} cannot be written: {error.strerror}. The same command continues.") from None
        finally:
            self._whole.release()


class Journal:
    """The storage of a search.

    Args:
        folder: Folder of the search, which exists.

    Raises:
        UserError: If the file cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL
        self._lock = _Lock(folder / f".{JOURNAL}.lock")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            with self.alone():
                self.storage = JournalStorage(_Backend(self.path, self._lock))
        except OSError as error:
            raise UserError(f"{self.path} cannot be opened: {error.strerror}.") from None
        except (ValueError, KeyError, AssertionError):
            raise UserError(
                f"{self.path} is damaged. Move it away: the search then begins anew, but what was trained is not lost."
            ) from None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else reads or writes inside the block; blocks may be nested."""
        self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()


def _remove_torn_line(path: Path) -> None:
    with path.open("rb+") as file:
        size = file.seek(0, 2)
        end, block = size, b""
        while end and b"\n" not in block:
            start = max(0, end - 4096)
            file.seek(start)
            block = file.read(end - start)
            if b"\n" in block:
                end = start + block.rindex(b"\n") + 1
                break
            end = start
        if end < size:
            file.truncate(end)

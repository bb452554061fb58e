"""One process at a time works in a run folder; the lock ends with the last process that holds it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unet_exp.errors import UserError

_BUSY = (errno.EAGAIN, errno.EACCES)


class NoLocksError(UserError):
    """The file system or the operating system knows no locks that a child process inherits."""


class FolderLock:
    """A lock on a folder, held until it is released or every process that has its file descriptor has ended.

    filelock keeps the descriptor to itself. Here a sweep hands it to the job that it starts, so that the lock is never
    free in between, and stays taken while the job lives although the sweep was killed.

    Args:
        path: The lock file.
        descriptor: Its open, locked file descriptor.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self.descriptor = descriptor

    @classmethod
    def acquire(cls, folder: Path) -> "FolderLock | None":
        """Lock an existing folder without waiting; None if another process has it.

        Raises:
            NoLocksError: If the file system or the operating system knows no such locks.
            UserError: If nothing can be written there.
        """
        try:
            import fcntl  # exists on Unix only
        except ImportError:
            raise NoLocksError("Sweeps need Linux or macOS; on Windows use WSL.") from None
        path = folder / ".lock"
        while True:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise UserError(f"Cannot lock {folder}: {error.strerror}.") from None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                if error.errno in _BUSY:
                    return None
                raise NoLocksError(
                    f"Cannot lock {folder}: {error.strerror}. Choose an output_folder on a file system with locks."
                ) from None
            if _is_still(path, descriptor):
                return cls(path, descriptor)
            os.close(descriptor)  # its last holder has just removed the file: what was locked is nobody's lock

    def release(self) -> None:
        """Free the lock; a second call does nothing."""
        if self.descriptor < 0:
            return
        self._path.unlink(missing_ok=True)
        os.close(self.descriptor)
        self.descriptor = -1


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder inside the block, where there are locks.

    Raises:
        UserError: If another process has it.
    """
    try:
        lock = FolderLock.acquire(folder)
    except NoLocksError:
        yield
        return
    if lock is None:
        raise UserError(f"{folder} is in use by another training. Wait for it, or stop it first.")
    try:
        yield
    finally:
        lock.release()


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False

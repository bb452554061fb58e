"""One process at a time works in a run folder; the lock ends with the last process that holds it."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unet_exp.errors import UserError

LOCK_VARIABLE = "UNET_EXP_LOCK_DESCRIPTOR"
"""Tells a training which file descriptor holds the lock that it got from the program it replaces."""

_BUSY = (errno.EAGAIN, errno.EACCES)
_PAUSE = 0.2


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
        path = folder / ".lock"
        access = os.O_RDONLY  # a file open for writing would keep the system from making a faulty disk read-only
        while True:
            descriptor = _lock(path, access)
            if descriptor is None:
                return None
            if descriptor < 0:
                access = os.O_RDWR
                continue
            if _is_still(path, descriptor):
                return cls(path, descriptor)
            os.close(descriptor)  # its last holder has just removed the file: what was locked is nobody's lock

    def release(self) -> None:
        """Free the lock; a second call does nothing."""
        if self.descriptor < 0:
            return
        with suppress(OSError):  # the disk may be read-only by now
            self._path.unlink(missing_ok=True)
        os.close(self.descriptor)
        self.descriptor = -1


@contextmanager
def alone_in(folder: Path, *, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock of a folder inside the block, where there are locks.

    Args:
        folder: It must exist.
        patience: Seconds to wait for it: the workers of a training that was killed notice it after some seconds only,
            and hold its lock until then.

    Raises:
        UserError: If another process has it.
    """
    try:
        lock = acquire_patiently(folder, patience)
    except NoLocksError:
        yield
        return
    if lock is None:
        raise UserError(f"{folder} is in use by another training. Wait for it, or stop it first.")
    try:
        yield
    finally:
        lock.release()


def acquire_patiently(folder: Path, patience: float) -> FolderLock | None:
    """Lock an existing folder, None if another process has it all the time.

    Args:
        folder: It must exist.
        patience: Seconds to wait.

    Raises:
        NoLocksError: If there are no such locks.
        UserError: If nothing can be written there.
    """
    end = time.monotonic() + patience
    while True:
        lock = FolderLock.acquire(folder)
        if lock is not None or time.monotonic() >= end:
            return lock
        time.sleep(_PAUSE)


@contextmanager
def inherited_lock(folder: Path) -> Iterator[None]:
    """Release after the block the lock of a folder that this process was started with, if it was."""
    descriptor = os.environ.pop(LOCK_VARIABLE, None)
    if descriptor is None:
        yield
        return
    os.set_inheritable(int(descriptor), False)
    lock = FolderLock(folder / ".lock", int(descriptor))
    try:
        yield
    finally:
        lock.release()


def _lock(path: Path, access: int) -> int | None:
    """Open and lock a file.

    Returns:
        Its descriptor, None if it is locked already, -1 if the file system (NFS) locks only files open for writing.
    """
    try:
        import fcntl  # exists on Unix only
    except ImportError:
        raise NoLocksError("Sweeps need Linux or macOS; on Windows use WSL.") from None
    try:
        descriptor = os.open(path, access | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UserError(f"Cannot lock {path.parent}: {error.strerror}.") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in _BUSY:
            return None
        if error.errno == errno.EBADF and access == os.O_RDONLY:
            return -1
        raise NoLocksError(
            f"Cannot lock {path.parent}: {error.strerror}. Choose an output_folder on a file system with locks."
        ) from None
    return descriptor


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False

"""Several files at once, over a line that breaks: each arrives complete and checked, or not at all."""

import functools
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal

import httpx

from unet_exp.data._download._folder import disk_error, locked, require_space
from unet_exp.data._download._part import PartFile
from unet_exp.data._download._retry import download
from unet_exp.data._download._settings import DownloadSettings
from unet_exp.data._download._transfer import PermanentError, RemoteFile, StoppedError, TransientError
from unet_exp.data._progress import Progress, progress
from unet_exp.errors import DataError

__all__ = ["FailedFile", "RemoteFile", "failure", "fetch_files", "try_files"]

_SECONDS_TO_STOP = 1.0


@dataclass(frozen=True)
class FailedFile:
    """A file that could not be fetched.

    Args:
        path: Where it would be.
        reason: Why it is not there.
    """

    path: Path
    reason: str


def fetch_files(files: Sequence[RemoteFile], settings: DownloadSettings, *, title: str = "Download") -> None:
    """Fetch the files that are not there yet.

    A file that exists is not asked for again; without missing files no connection is made. A file that fails does
    not keep the others from arriving. An interrupted download leaves `<name>.part`, from which the next call goes on.

    Args:
        files: What is wanted.
        settings: How patient to be.
        title: Shown before the progress.

    Raises:
        DataError: If any file is still missing; lists every one with its reason. Or if the disk is full.
    """
    failed = try_files(files, settings, title=title)
    if failed:
        raise failure(failed, len(files))


def failure(failed: Sequence[FailedFile], total: int) -> DataError:
    """The message that lists every file that is missing.

    Args:
        failed: Files that could not be fetched.
        total: How many were wanted.
    """
    listed = "\n".join(f"  {file.path}: {file.reason}" for file in failed)
    return DataError(
        f"{len(failed)} of {total} files could not be downloaded:\n{listed}\n"
        "What has arrived is kept. The same command continues where this one stopped."
    )


def try_files(files: Sequence[RemoteFile], settings: DownloadSettings, *, title: str) -> list[FailedFile]:
    """As `fetch_files`, but return what failed instead of raising.

    Raises:
        DataError: If the disk is full or cannot be written to.
    """
    if not any(_is_missing(file) for file in files):
        return _of_other_size(files)
    with ExitStack() as stack:
        for folder in sorted({file.path.parent for file in files}):  # sorted: two processes cannot block each other
            stack.enter_context(locked(folder))
        missing = [file for file in files if _is_missing(file)]  # another process may have fetched some
        _require_space_for(missing)
        bar = stack.enter_context(progress(title, _known_total(missing), "bytes"))
        client = stack.enter_context(_client(settings))
        return _of_other_size(files) + _Workers(missing, settings, client, bar).run()


def _is_missing(file: RemoteFile) -> bool:
    return not file.path.is_file()


def _of_other_size(files: Sequence[RemoteFile]) -> list[FailedFile]:
    """Files that are there but cannot be what is wanted; they may be the user's own and are not replaced."""
    sizes = [(file, file.path.stat().st_size) for file in files if file.size is not None and file.path.is_file()]
    return [
        FailedFile(file.path, f"is there with {size} bytes where {file.size} are expected; move it away")
        for file, size in sizes
        if size != file.size
    ]


@functools.cache
def _certificates() -> ssl.SSLContext:
    return httpx.create_ssl_context()  # reading the authorities takes longer than fetching a mask


def _client(settings: DownloadSettings) -> httpx.Client:
    return httpx.Client(
        verify=_certificates(),
        timeout=httpx.Timeout(settings.stall_timeout, connect=settings.connect_timeout),
        headers={"User-Agent": "unet_exp"},
    )


def _known_total(files: Sequence[RemoteFile]) -> int | None:
    sizes = [file.size for file in files]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def _require_space_for(files: Sequence[RemoteFile]) -> None:
    needed: Counter[Path] = Counter()
    for file in files:
        needed[file.path.parent] += max(0, (file.size or 0) - PartFile(file.path).size)
    for folder, amount in needed.items():
        require_space(folder, amount)


Outcome = Literal["done"] | FailedFile | BaseException


class _Workers:
    """Daemon threads that fetch one file after another, so that Ctrl-C never waits for a silent server."""

    def __init__(
        self, files: Sequence[RemoteFile], settings: DownloadSettings, client: httpx.Client, bar: Progress
    ) -> None:
        self._settings = settings
        self._client = client
        self._count = len(files)
        self._waiting: SimpleQueue[RemoteFile] = SimpleQueue()
        for file in files:
            self._waiting.put(file)
        self._outcomes: SimpleQueue[Outcome] = SimpleQueue()
        self._stop = threading.Event()
        self._unreachable: Counter[str] = Counter()
        self._meter = _Meter(files, bar)

    def run(self) -> list[FailedFile]:
        """Fetch everything; the files that failed."""
        count = min(self._settings.connections, self._count)
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        failed: list[FailedFile] = []
        try:
            for done in range(self._count):
                self._meter.describe(f"{done} of {self._count} files")
                outcome = self._outcomes.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                if isinstance(outcome, FailedFile):
                    failed.append(outcome)
            self._meter.describe(f"{self._count - len(failed)} of {self._count} files")
        except KeyboardInterrupt:
            sys.stderr.write("Stopped. What has arrived is kept, half files too; the same command continues.\n")
            raise
        finally:
            self._stop.set()
            deadline = time.monotonic() + _SECONDS_TO_STOP
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
        return failed

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                file = self._waiting.get_nowait()
            except Empty:
                return
            self._outcomes.put(self._fetch(file))

    def _fetch(self, file: RemoteFile) -> Outcome:
        # As many files in a row as are fetched at once: the server is down, the others need not find that out anew.
        if self._unreachable[file.host] >= max(2, self._settings.connections):
            return FailedFile(file.path, f"not tried, because {file.host} cannot be reached")
        try:
            download(self._client, file, self._settings, self._meter.reporter(file), self._stop)
        except TransientError as error:
            self._unreachable[file.host] += error.unreachable
            return FailedFile(file.path, str(error))
        except (PermanentError, StoppedError) as error:
            return FailedFile(file.path, str(error))
        except OSError as error:
            return disk_error(file.path.parent, error)
        except Exception as error:  # must reach the main thread, whatever it is
            return error
        self._unreachable[file.host] = 0
        return "done"


class _Meter:
    """Adds up what all files report, and learns the total as servers name sizes."""

    def __init__(self, files: Sequence[RemoteFile], bar: Progress) -> None:
        self._bar = bar
        self._lock = threading.Lock()
        self._done: Counter[Path] = Counter()
        self._totals: dict[Path, int | None] = {file.path: file.size for file in files}

    def describe(self, text: str) -> None:
        """Passed on."""
        self._bar.describe(text)

    def reporter(self, file: RemoteFile) -> Callable[[int, int | None], None]:
        """What one download calls."""
        return functools.partial(self._record, file.path)

    def _record(self, path: Path, size: int, total: int | None) -> None:
        with self._lock:
            self._bar.advance(size - self._done[path])
            self._done[path] = size
            if self._totals[path] is None and total is not None:
                self._totals[path] = total
                known = [t for t in self._totals.values() if t is not None]
                if len(known) == len(self._totals):
                    self._bar.expect(sum(known))

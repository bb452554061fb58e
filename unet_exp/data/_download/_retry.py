"""One file until it is there: tries, waits, and knows when to give up."""

import random
from collections.abc import Callable
from threading import Event

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event

from unet_exp.data._download._part import PartFile
from unet_exp.data._download._settings import DownloadSettings
from unet_exp.data._download._transfer import RemoteFile, StoppedError, TransientError, transfer
from unet_exp.errors import DataError

_LONGEST_WAIT = 60.0


def download(
    client: httpx.Client,
    file: RemoteFile,
    settings: DownloadSettings,
    report: Callable[[int, int | None], None],
    stop: Event,
) -> None:
    """Fetch, check and name one file.

    Args:
        client: Shared by all downloads.
        file: What is wanted.
        settings: How patient to be.
        report: As in `transfer`.
        stop: When set, ends soon.

    Raises:
        TransientError: If it still fails after `settings.attempts` tries that brought nothing new.
        PermanentError: If trying again would not help.
        DataError: If there is no room.
        StoppedError: If `stop` was set.
        OSError: If the disk cannot be written to.
    """
    part = PartFile(file.path)
    patience = _Patience(part, settings)

    def attempt() -> None:
        if stop.is_set():
            raise StoppedError
        transfer(client, file, part, report, stop)
        _check(file, part)
        if stop.is_set():
            raise StoppedError
        part.commit()

    Retrying(
        retry=retry_if_exception_type(TransientError),
        after=patience.record,
        wait=patience.wait,
        stop=patience.exhausted,
        sleep=sleep_using_event(stop),
        reraise=True,
    )(attempt)


def _check(file: RemoteFile, part: PartFile) -> None:
    if file.size is not None and part.size != file.size:
        size = part.size
        part.discard()
        raise TransientError(f"{size} bytes arrived where {file.size} are expected")
    if file.check is None:
        return
    try:
        file.check(part.path)
    except DataError as error:
        part.discard()
        raise TransientError(str(error)) from None


class _Patience:
    """Counts tries that brought nothing new: progress, however slow, is never given up."""

    def __init__(self, part: PartFile, settings: DownloadSettings) -> None:
        self._part = part
        self._settings = settings
        self._most = part.size
        self._failures = 0

    def record(self, _: RetryCallState) -> None:
        """A try has failed."""
        size = self._part.size
        self._failures = 1 if size > self._most else self._failures + 1
        self._most = max(self._most, size)

    def wait(self, state: RetryCallState) -> float:
        """Seconds until the next try: what the server asks for, else doubled each time, with jitter."""
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, TransientError) and error.retry_after is not None:
            return error.retry_after
        longest = min(_LONGEST_WAIT, self._settings.backoff * 2.0 ** min(self._failures - 1, 16))
        return random.uniform(0.5, 1.0) * longest  # else all connections come back in step

    def exhausted(self, _: RetryCallState) -> bool:
        """Whether to give up."""
        return self._failures >= self._settings.attempts

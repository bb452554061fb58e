"""One progress bar for everything that takes long: on a terminal a live line, in a log file a line now and then."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichProgress

Unit = Literal["bytes", "files", "pairs", "windows"]

_LINE_EVERY_SECONDS = 30.0
_LINE_EVERY_PERCENT = 10
_SILENT_SECONDS = 3.0
"""What is done sooner is not worth a line in a log file."""


class Progress(Protocol):
    """What code that works tells its user; safe to call from several threads."""

    def advance(self, amount: int) -> None:
        """Add to what is done; negative if something is done again."""

    def describe(self, text: str) -> None:
        """Say what is being worked on, after the title."""

    def expect(self, total: int) -> None:
        """Set the total, once it is known."""


@contextmanager
def progress(title: str, total: int | None, unit: Unit) -> Iterator[Progress]:
    """Show progress on standard error.

    Args:
        title: What is done, e.g. `BCSS regions`.
        total: How much there is to do, None if unknown, 0 to show nothing.
        unit: What is counted. Bytes are also shown as a rate.
    """
    if total == 0:
        yield _Silent()
    elif sys.stderr.isatty():
        with RichProgress(*_columns(unit), console=Console(stderr=True), transient=True) as bar:
            yield _Terminal(bar, title, total)
    else:
        lines = _Lines(title, total, unit)
        yield lines
        lines.end()


def _columns(unit: Unit) -> list[ProgressColumn]:
    # markup=False: a file name such as a[1].png is not a style.
    text = TextColumn("{task.description}", markup=False)
    if unit == "bytes":
        return [text, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()]
    return [text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]


class _Silent:
    """For work that turned out to be none."""

    def advance(self, amount: int) -> None: ...

    def describe(self, text: str) -> None: ...

    def expect(self, total: int) -> None: ...


class _Terminal:
    """The live bar of rich, which has a lock of its own."""

    def __init__(self, bar: RichProgress, title: str, total: int | None) -> None:
        self._bar = bar
        self._title = title
        self._task = bar.add_task(title, total=total)

    def advance(self, amount: int) -> None:
        self._bar.advance(self._task, amount)

    def describe(self, text: str) -> None:
        self._bar.update(self._task, description=f"{self._title}: {text}" if text else self._title)

    def expect(self, total: int) -> None:
        self._bar.update(self._task, total=total)


class _Lines:
    """Plain lines: log files and schedulers keep every redrawn bar for ever."""

    def __init__(self, title: str, total: int | None, unit: Unit) -> None:
        self._title = title
        self._total = total
        self._unit = unit
        self._done = 0
        self._text = ""
        self._start = self._last = time.monotonic()
        self._next_percent = _LINE_EVERY_PERCENT

    def advance(self, amount: int) -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._start < _SILENT_SECONDS:
            return
        percent = 100 * self._done // self._total if self._total else 0
        # The last step is told by the line at the end.
        if self._next_percent <= percent < 100 or now - self._last >= _LINE_EVERY_SECONDS:
            self._last = now
            self._next_percent = percent - percent % _LINE_EVERY_PERCENT + _LINE_EVERY_PERCENT
            self.write(f"{percent} %, {self.amount()}" if self._total else self.amount())

    def describe(self, text: str) -> None:
        self._text = text

    def expect(self, total: int) -> None:
        self._total = total

    def end(self) -> None:
        """Say that it is done, if it was worth a line."""
        if time.monotonic() - self._start >= _SILENT_SECONDS:
            self.write(f"done, {self.amount()}")

    def amount(self) -> str:
        """What is done so far, in words."""
        if self._unit != "bytes":
            return f"{self._done}{f' of {self._total}' if self._total else ''} {self._unit}"
        rate = self._done / max(time.monotonic() - self._start, 1e-3)
        of_total = f" of {decimal(self._total)}" if self._total else ""
        return f"{decimal(self._done)}{of_total}, {decimal(int(rate))}/s"

    def write(self, event: str) -> None:
        """One line on standard error."""
        text = f" ({self._text})" if self._text else ""
        sys.stderr.write(f"{self._title}: {event}{text}\n")
        sys.stderr.flush()

"""SIGINT and SIGTERM as a request to stop: training saves its state first, then the process exits non-zero."""

import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import FrameType

from unet_exp.errors import RunInterruptedError, UserError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_DELIVERY = 5.0
"""Seconds in which a signal reaches all processes of a distributed training."""


class StopRequest:
    """Remembers the first signal; a second SIGINT stops at once, as an impatient user expects.

    Args:
        blocked: Further signals that ask to stop. They are blocked in this process and in all it starts, which have no
            handler and would die of them, and are looked for here.
    """

    def __init__(self, blocked: Collection[signal.Signals] = ()) -> None:
        self._blocked = frozenset(blocked)
        self._signal: signal.Signals | None = None
        self.failed = False
        self._failure: Exception = UserError("Another process of this training has stopped; its message says why.")

    def __bool__(self) -> bool:
        if self._signal is None and self._blocked:
            self._signal = next(iter(self._blocked & signal.sigpending()), None)
        return self._signal is not None

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Signal handler."""
        if self._signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = self._signal or signal.Signals(number)

    def fail(self, error: Exception) -> None:
        """Let training end with an error as soon as all processes know of it."""
        self.failed, self._failure = True, error

    def failure(self) -> Exception:
        """The exception to end training with if this process, or another one, has failed."""
        return self._failure

    def error(self) -> RunInterruptedError:
        """The exception to end training with after a signal; what another process got first is waited for."""
        deadline = time.monotonic() + (_DELIVERY if self._blocked else 0)
        while not self and time.monotonic() < deadline:
            time.sleep(0.05)
        number = self._signal or signal.SIGTERM
        return RunInterruptedError(number.name, 128 + number)

    def install(self) -> None:
        """Become the handler of both signals (also after somebody else has taken them)."""
        for number in _SIGNALS:
            signal.signal(number, self.handle)


@contextmanager
def stop_request(blocked: Collection[signal.Signals] = ()) -> Iterator[StopRequest]:
    """Own both signals inside the block, and give them back after it.

    Args:
        blocked: Further, blocked signals that ask to stop.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    request = StopRequest(blocked)
    request.install()
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

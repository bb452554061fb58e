"""SIGINT and SIGTERM as a request to stop: training saves its state first, then the process exits non-zero."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from unet_exp.errors import RunInterruptedError, UserError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Remembers the first signal; a second SIGINT stops at once, as an impatient user expects."""

    def __init__(self) -> None:
        self._signal: signal.Signals | None = None
        self.failed = False
        self._failure: Exception = UserError("Another process of this training has stopped; its message says why.")

    def __bool__(self) -> bool:
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
        """The exception to end training with after a signal."""
        number = self._signal or signal.SIGTERM
        return RunInterruptedError(number.name, 128 + number)

    def install(self) -> None:
        """Become the handler of both signals (also after somebody else has taken them)."""
        for number in _SIGNALS:
            signal.signal(number, self.handle)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Own both signals inside the block, and give them back after it."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    request = StopRequest()
    request.install()
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

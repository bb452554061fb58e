"""Errors that are the user's to fix: one clear message, no traceback, exit code not zero."""

import re

_FROM_WORKER = re.compile(
    r"^Caught \w+ in DataLoader worker process \d+\.\n.*\n[\w.]*Error: (?P<message>.*)$", re.DOTALL
)


class UserError(Exception):
    """Something outside the program is wrong; the message says what, where, and what to do."""


class ConfigError(UserError):
    """The configuration cannot be run; every mistake found is one line of the message.

    Args:
        mistakes: One sentence per mistake, each naming its key.
    """

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        heading = f"{counted(len(mistakes), 'mistake')} in the configuration:"
        super().__init__("\n".join([heading, *(f"  {m}" for m in mistakes)]))


class DataError(UserError):
    """A file of the dataset is missing, unreadable or not what its format promises."""


class RunInterruptedError(Exception):
    """Training was stopped by a signal after its state was saved.

    Args:
        signal_name: For example ``SIGTERM``.
        exit_code: What the process must exit with, 128 + signal number.
    """

    def __init__(self, signal_name: str, exit_code: int) -> None:
        self.signal_name = signal_name
        self.exit_code = exit_code
        super().__init__(f"stopped by {signal_name}")


def plain_message(error: BaseException) -> str:
    """What an error says, without the traceback that torch adds to one from a worker process."""
    text = str(error).strip()
    match = _FROM_WORKER.match(text)
    return match["message"] if match else text


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural where it is not one."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

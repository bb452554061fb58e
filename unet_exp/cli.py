"""How every command ends: one clear message instead of a traceback, and an honest exit code."""

import sys
from collections.abc import Callable

from unet_exp.errors import RunInterruptedError, UserError, plain_message


def run_command(command: Callable[[], None]) -> None:
    """Run a command and turn the errors that are the user's to fix into a message on stderr.

    Exit codes: 0 done, 1 a mistake to fix, 130 and 143 stopped by SIGINT and SIGTERM. Anything else is a bug
    and keeps its traceback.
    """
    try:
        command()
    except UserError as error:
        sys.stderr.write(f"error: {plain_message(error)}\n")
        raise SystemExit(1) from None
    except RunInterruptedError as error:
        sys.stderr.write(f"{error}; the state is saved\n")
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise SystemExit(130) from None

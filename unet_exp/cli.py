"""How every command begins and ends: help, one clear message instead of a traceback, an honest exit code."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from unet_exp.errors import RunInterruptedError, UserError, plain_message
from unet_exp.locations import CONFIG_FOLDER
from unet_exp.run.team import leave_the_word_to_the_first

# Read by torch when it is imported, on Linux: large tensors in large pages. Without it a forward pass over large images
# spends half of its time on a CPU waiting for the kernel to clear and map 4 KiB pages.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def run_command(command: Callable[[], None]) -> None:
    """Run a command and turn the errors that are the user's to fix into a message on stderr.

    Exit codes: 0 done, 1 a mistake to fix, 130 and 143 stopped by SIGINT and SIGTERM. Anything else is a bug
    and keeps its traceback.
    """
    try:
        _unmask_interrupts(command)
    except UserError as error:
        leave_the_word_to_the_first()
        sys.stderr.write(f"error: {plain_message(error)}\n")
        raise SystemExit(1) from None
    except RunInterruptedError as error:
        sys.stderr.write(f"{error}; the state is saved\n")
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise SystemExit(130) from None


def _unmask_interrupts(command: Callable[[], None]) -> None:
    """Run a command; what fails because Ctrl-C came in the middle of something is a Ctrl-C.

    OmegaConf's context managers, for one, restore flags of a half-made node when they are interrupted, and fail.
    """
    try:
        command()
    except RunInterruptedError:
        raise
    except (Exception, SystemExit) as error:
        cause = error.__context__
        while cause is not None and not isinstance(cause, KeyboardInterrupt):
            cause = cause.__context__
        if cause is None or (isinstance(error, SystemExit) and error.code == 130):
            raise
        raise cause from None


def run_plain_command(
    arguments: Sequence[str] | None, name: str, introduction: str, command: Callable[[Sequence[str]], None]
) -> None:
    """Run a command that reads its arguments without Hydra's own main, or answer `--help`.

    Args:
        arguments: The command line without the program; None takes it from sys.argv.
        name: Root file of its keys in conf/, without suffix; shown as its help.
        introduction: What it does, and examples; shown before the keys.
        command: Takes the arguments.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    if _asks_for_help(given):
        keys = (Path(CONFIG_FOLDER) / f"{name}.yaml").read_text(encoding="utf-8")
        sys.stdout.write(f"{introduction}\n\n{keys}")
        return
    run_command(lambda: command(given))


def with_data_for_help(arguments: Sequence[str]) -> list[str]:
    """Arguments for Hydra: `data` must be chosen, by an experiment or directly, but asking for help is no choice."""
    chosen = any(argument.startswith(("data=", "experiment=")) for argument in arguments)
    # In front: argparse does not take overrides from both sides of an option.
    return ["data=bcss_demo", *arguments] if _asks_for_help(arguments) and not chosen else list(arguments)


def _asks_for_help(arguments: Sequence[str]) -> bool:
    return not {"--help", "-h"}.isdisjoint(arguments)

"""``resume=<run folder>`` alone is enough: the run's own command line is taken from its folder."""

import json
from collections.abc import Sequence
from pathlib import Path

from unet_exp.errors import UserError


def resumed_arguments(arguments: Sequence[str]) -> list[str]:
    """Put the overrides of the run to continue before those given now, which win.

    Args:
        arguments: The command line without the program.

    Raises:
        UserError: If the folder is not that of a run.
    """
    folder = next((a.partition("=")[2] for a in arguments if a.startswith("resume=")), "").strip("'\"")
    if not folder or folder == "null":
        return list(arguments)
    try:
        saved = json.loads((Path(folder) / "environment.json").read_text(encoding="utf-8"))["overrides"]
    except (OSError, ValueError, KeyError):
        raise UserError(
            f"resume: {folder} is not the folder of a run (it has no readable environment.json). "
            "Give the run folder that the training printed."
        ) from None
    given = {_key(argument) for argument in arguments}
    return [*(override for override in saved if _key(override) not in given), *arguments]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")

"""Datasets that are generated once and then reused."""

import json
from collections.abc import Callable
from pathlib import Path

from unet_exp.data._atomic import make_once
from unet_exp.errors import DataError

_MARKER = "generated.json"


def generate_once(folder: Path, recipe: dict[str, int | str], make: Callable[[Path], None]) -> None:
    """Fill `folder` by `make` unless it already holds the result of the same recipe.

    Several processes may call this at once: one makes it, the others wait. A crash leaves nothing behind
    but a temporary folder; `folder` appears complete or not at all.

    Args:
        folder: Where the result shall be.
        recipe: What the result depends on; a folder made by another recipe is made anew.
        make: Writes into the empty folder it is given.

    Raises:
        DataError: If `folder` holds files that were not made here.
    """
    marker = folder / _MARKER

    def is_current() -> bool:
        return marker.is_file() and json.loads(marker.read_text()) == recipe

    def make_with_marker(temporary: Path) -> None:
        if folder.exists() and not marker.is_file() and any(folder.iterdir()):
            raise DataError(
                f"{folder} holds files that were not generated here; it is left alone. Choose another data.root."
            )
        make(temporary)
        (temporary / _MARKER).write_text(json.dumps(recipe))

    make_once(folder, is_current, make_with_marker)

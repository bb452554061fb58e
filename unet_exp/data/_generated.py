"""Folders that are generated once, atomically, and then reused."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

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
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        marker = folder / _MARKER
        if marker.is_file() and json.loads(marker.read_text()) == recipe:
            return
        if folder.exists() and not marker.is_file() and any(folder.iterdir()):
            raise DataError(
                f"{folder} holds files that were not generated here; it is left alone. Choose another data.root."
            )
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            make(temporary)
            (temporary / _MARKER).write_text(json.dumps(recipe))
            if folder.exists():
                shutil.rmtree(folder)
            os.chmod(temporary, 0o755)  # noqa: PTH101 - mkdtemp makes it private
            temporary.replace(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

"""Results of several files that appear together, or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unet_exp.errors import UserError

_LAST = "metrics.json"
"""Says that the others are complete: it is taken away first and put there last."""


def require_writable(target: Path) -> None:
    """Make sure that a folder can be made or written, without doing so.

    Raises:
        UserError: If it cannot.
    """
    place = target.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise UserError(f"output: {place} is a file, so no results can be written to {target}. Give another folder.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"output: {place} cannot be written. Give another folder, output=<folder>.")


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield a folder whose content replaces that of the same names in `target` once the block has ended well.

    Raises:
        UserError: If something cannot be written.
    """
    is_new = not target.exists()
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target, prefix=".unfinished-") as name:
            yield Path(name)
            _move(Path(name), target)
    except BaseException as error:
        if is_new and target.is_dir() and not any(target.iterdir()):
            target.rmdir()
        if isinstance(error, OSError):
            raise UserError(f"The results cannot be written to {target}: {error.strerror or error}.") from None
        raise


def _move(source: Path, target: Path) -> None:
    (target / _LAST).unlink(missing_ok=True)
    for entry in sorted(source.iterdir(), key=lambda path: path.name == _LAST):
        old = target / entry.name
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        entry.replace(old)

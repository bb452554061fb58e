"""Making a folder that is there in full or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unet_exp.bundle.manifest import FILE_NAME
from unet_exp.errors import UserError


def check_target(target: Path, *, overwrite: bool) -> None:
    """Make sure that a bundle may be written to `target`.

    Raises:
        UserError: If something is there that must not be replaced.
    """
    if not target.exists() and not target.is_symlink():
        return
    if not overwrite:
        raise UserError(f"{target} exists already. Choose another output=..., or say overwrite=true to replace it.")
    if not target.is_dir() or target.is_symlink() or (any(target.iterdir()) and not (target / FILE_NAME).is_file()):
        raise UserError(f"{target} is not a bundle, so overwrite=true does not replace it. Choose another output=...")


@contextmanager
def new_folder(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """An empty folder beside `target` that takes its place at the end, and is removed where that is not reached.

    Raises:
        UserError: If something is there that must not be replaced, or nothing can be written.
    """
    check_target(target, overwrite=overwrite)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    except OSError as error:
        raise UserError(f"Cannot write to {target.parent}: {error.strerror}. Set output=...") from None
    try:
        yield temporary
        temporary.chmod(0o755)
        for file in temporary.iterdir():  # safetensors lets nobody else read its file
            file.chmod(0o644)
        check_target(target, overwrite=overwrite)  # it may have come to be in the meantime
        _replace(temporary, target)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace(temporary: Path, target: Path) -> None:
    """Two renames, since no system call replaces a folder that holds files."""
    if target.is_dir():
        old = temporary.with_name(f"{temporary.name}-old")
        target.rename(old)
        temporary.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        temporary.rename(target)

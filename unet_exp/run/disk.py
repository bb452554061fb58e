"""What a disk that refuses to be written to means for a run, and how what was written stays."""

import errno
import re
from pathlib import Path

from unet_exp.errors import UserError

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your disk quota is used up",
    errno.EFBIG: "the file is larger than the file system, or the limit of this session (ulimit -f), allows",
}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}

_TEMPORARY = re.compile(r"^\..+-[a-z0-9_]{8}$")
"""Names that `tempfile` gives the temporary files of `unet_exp.files` and `unet_exp.run.checkpoint_io`."""


def disk_error(path: Path, error: OSError) -> UserError:
    """What a failed write means to the user.

    Args:
        path: The file that should have been written.
        error: What the operating system said.
    """
    reason = _FULL.get(error.errno or 0) or f"it cannot be written to ({error.strerror or error})"
    return UserError(
        f"{path.parent}: {reason}, so {path.name} could not be written. What was saved before is intact; "
        "make room or give permission, then continue the run with resume=<run folder>."
    )


def is_disk_error(error: OSError) -> bool:
    """Whether it says that a disk is full or must not be written to."""
    return error.errno in _FULL or error.errno in _REFUSED


def remove_temporary_files(folder: Path) -> None:
    """Remove what killed writers have left in a folder and the folders in it; nobody may be writing there."""
    for path in [*folder.glob(".*-*"), *folder.glob("*/.*-*")]:
        if _TEMPORARY.match(path.name) and path.is_file():
            path.unlink(missing_ok=True)

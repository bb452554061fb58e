"""Checkpoints that survive: written beside, checked, the one before kept.

A checkpoint is what `torch.save` writes, a zip archive; the SHA-256 of its bytes stands in the archive's comment, so
that file and checksum appear together and `torch.load` reads it as ever.
"""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from torch import nn

from unet_exp.errors import UserError
from unet_exp.files import sync_folder
from unet_exp.run.disk import disk_error
from unet_exp.run.folder import previous_checkpoint
from unet_exp.run.rank import is_first_process

_MARK = b"sha256:"
_COMMENT_LENGTH = len(_MARK) + hashlib.sha256().digest_size * 2
_CHUNK = 2**20


class DurableCheckpointIO(CheckpointIO):
    """Lightning's plugin for reading and writing checkpoints, safe against kills, full disks and damage.

    ``last.ckpt`` is replaced only by a complete file that has reached the disk, and lives on as
    ``last-previous.ckpt``.
    """

    def __init__(self) -> None:
        self._continued_from: Path | None = None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None
    ) -> None:
        """Write a checkpoint, atomically.

        Args:
            checkpoint: Tensors and plain values.
            path: Where to.
            storage_options: ``also``: a second name under which the same file appears, just before it does under
                `path`; the two share their room on the disk.

        Raises:
            UserError: If the disk is full or cannot be written; what was there before is intact.
        """
        path = Path(path)
        also = (storage_options or {}).get("also")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _temporary_beside(path) as temporary:
                _write(checkpoint, temporary)
                if also is not None:
                    _appear(temporary, Path(also))
                # A damaged checkpoint must not take the place of the good one that this process started from.
                if path.is_file() and self._continued_from != previous_checkpoint(path):
                    _appear(path, previous_checkpoint(path))
                temporary.replace(path)
            sync_folder(path.parent)
        except OSError as error:
            raise disk_error(path, error) from None
        self._continued_from = None

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = "cpu",
        weights_only: bool | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Read a checkpoint of tensors and plain values.

        Args:
            path: The file.
            map_location: Where the tensors go.
            weights_only: Ignored: anything but tensors and plain values is refused in any case.

        Raises:
            UserError: If it is damaged.
        """
        self._continued_from = Path(path)
        return read_checkpoint(Path(path), map_location)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove a checkpoint if it exists."""
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Content of a checkpoint.

    Args:
        path: The file.
        map_location: Where the tensors go.

    Raises:
        UserError: If the file is damaged.
    """
    try:
        _verify(path)
        content: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
        _ = content["state_dict"]
    except Exception as error:  # torch.load raises a dozen types on damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged and cannot be loaded ({reason}). Is there another checkpoint?") from None
    return content


def usable_checkpoint(path: Path) -> tuple[Path, dict[str, Any]]:
    """A checkpoint, or the one before it if it is damaged or missing, which is then told.

    Returns:
        Path and content of the first that is whole.

    Raises:
        UserError: If there is none.
    """
    previous = previous_checkpoint(path)
    if not previous.is_file():
        return path, read_checkpoint(path)
    problem = f"{path} is missing"
    if path.is_file():
        try:
            return path, read_checkpoint(path)
        except UserError as error:
            problem = str(error).removesuffix(" Is there another checkpoint?")
    try:
        content = read_checkpoint(previous)
    except UserError as error:
        second = str(error).removesuffix(" Is there another checkpoint?")
        raise UserError(f"{problem.rstrip('.')}; {second} Restore one of the two, or start a new run.") from None
    if is_first_process():
        sys.stderr.write(f"warning: {problem.rstrip('.')}; {previous.name}, the one before it, is used instead.\n")
    return previous, content


def apply_weights(module: nn.Module, weights: Mapping[str, Any], checkpoint: Path) -> None:
    """Give a module the weights of a checkpoint.

    Args:
        module: What they belong to.
        weights: By the names of its parameters and buffers.
        checkpoint: Where they come from, for the message.

    Raises:
        UserError: If they are those of another network.
    """
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[1:] or [str(error)]  # the first line only says that there are errors
        raise UserError(f"{checkpoint} cannot be loaded into this network: {reason[0].strip()[:200]}") from None


@contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    """A new file in the folder of `path`, gone after the block unless it was moved."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        stream = _HashedStream(file)
        torch.save(checkpoint, stream)  # type: ignore[arg-type]  # it needs no more of a file than `write`
        file.write(stream.comment())
        os.fsync(file.fileno())
    path.chmod(0o644)


class _HashedStream:
    """What `torch.save` writes to: hashes all bytes, and holds the last two back until the comment is known.

    The archive ends with the length of its comment, two bytes that are zero. An error of the disk is kept until
    torch has finished, since it would be replaced by an internal error of torch that hides the reason.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._held = b""
        self._error: OSError | None = None

    def write(self, data: Any) -> int:
        """Pass bytes on."""
        view = memoryview(data).cast("B")
        self._hash.update(view)
        ready = self._held + bytes(view[-2:])
        self._pass_on(self._held if len(view) >= 2 else ready[:-2])
        self._pass_on(view[:-2])
        self._held = ready[-2:]
        return len(view)

    def _pass_on(self, data: Any) -> None:
        view = memoryview(data)
        try:
            while view and self._error is None:
                view = view[self._file.write(view) :]  # a raw file may take a part only
        except OSError as error:
            self._error = error

    def flush(self) -> None:
        """Nothing is held back but the end."""

    def comment(self) -> bytes:
        """The end of the archive: length of the comment, and the comment.

        Raises:
            OSError: If a write has failed.
        """
        if self._error is not None:
            raise self._error
        if self._held != bytes(2):
            raise RuntimeError("torch.save has not written a zip archive without a comment")
        return _COMMENT_LENGTH.to_bytes(2, "little") + _MARK + self._hash.hexdigest().encode()


def _appear(existing: Path, name: Path) -> None:
    """Let a file appear under a second name; it is copied where the file system knows no hard links."""
    with _temporary_beside(name) as temporary:
        temporary.unlink()
        try:
            temporary.hardlink_to(existing)
        except OSError:
            shutil.copyfile(existing, temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        # Of two names of one file, `replace` does nothing; the temporary one is removed by the block.
        temporary.replace(name)


def _verify(path: Path) -> None:
    """Compare the bytes with the checksum; a checkpoint of another program has none and passes.

    Raises:
        ValueError: If they differ.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _COMMENT_LENGTH))
        comment = file.read()
        if not comment.startswith(_MARK):
            return
        file.seek(0)
        computed, left = hashlib.sha256(), size - _COMMENT_LENGTH - 2
        while left:
            chunk = file.read(min(_CHUNK, left))
            if not chunk:
                raise ValueError("it has become shorter while it was read")
            computed.update(chunk)
            left -= len(chunk)
    computed.update(bytes(2))
    if comment != _MARK + computed.hexdigest().encode():
        raise ValueError("its content does not agree with its checksum")

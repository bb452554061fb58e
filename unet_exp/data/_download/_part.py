"""A file on its way: `<name>.part`, and beside it what is needed to fetch only the rest."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter, ValidationError


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Which version of which remote file the bytes so far belong to.

    Args:
        address: Where they came from.
        validator: The server's ETag, or else its Last-Modified date; None: the rest cannot be asked for safely.
        total: Size of the whole file in bytes, None if the server did not say.
    """

    address: str
    validator: str | None
    total: int | None


_ORIGIN = TypeAdapter(Origin)


class PartFile:
    """The half file of one download.

    Args:
        path: Where the complete file will be.
    """

    def __init__(self, path: Path) -> None:
        self._target = path
        self.path = path.with_name(f"{path.name}.part")
        self._note = path.with_name(f"{path.name}.part.json")

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self.path.stat().st_size if self.path.exists() else 0

    def origin(self, address: str) -> Origin | None:
        """Where the bytes so far came from; None if they cannot be continued from `address`."""
        try:
            origin = _ORIGIN.validate_json(self._note.read_bytes())
        except (OSError, ValidationError):
            return None
        return origin if origin.address == address and origin.validator and self.size else None

    def start(self, origin: Origin) -> BinaryIO:
        """Forget what has arrived and begin anew."""
        # In this order: a crash between the two must not pair old bytes with the new validator.
        self.path.unlink(missing_ok=True)
        self._note.write_text(json.dumps(asdict(origin)))
        return self.path.open("wb")

    def resume(self) -> BinaryIO:
        """Go on after what has arrived."""
        return self.path.open("ab")

    def discard(self) -> None:
        """Forget what has arrived."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def commit(self) -> None:
        """Give the complete file its name, in one step and surviving a power cut."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self.path.replace(self._target)
        self._note.unlink(missing_ok=True)

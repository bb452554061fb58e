"""What is finished in an output folder: one line per image, so that an interrupted prediction can go on."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unet_exp.errors import UserError

NAME = "predictions.jsonl"


@dataclass
class Record:
    """The images finished in an output folder.

    Args:
        folder: The output folder.
        identity: Of networks and settings: results of others are not mixed with them.
        entries: What was finished, by name of the results.
    """

    folder: Path
    identity: str
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, identity: str, *, go_on: bool) -> "Record":
        """Begin in an empty folder, or go on in one with results.

        Raises:
            UserError: If the folder holds results and was not meant to, or of another network.
        """
        file = folder / NAME
        entries = _read(file) if file.is_file() else {}
        if entries and not go_on:
            raise UserError(
                f"output: {folder} holds predictions of {len(entries)} images already. Say continue=true to skip "
                "them and go on, or choose another folder."
            )
        others = [name for name, entry in entries.items() if entry.get("identity") != identity]
        if others:
            raise UserError(
                f"output: {folder} holds predictions made with another network or other settings, e.g. of {others[0]}. "
                "Choose another folder."
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"output: cannot make {folder}: {error.strerror}.") from None
        return cls(folder, identity, entries)

    def is_finished(self, name: str, image: Path, files: Sequence[str]) -> bool:
        """Whether an image has not changed since it was predicted, and all the files wanted of it are there."""
        entry = self.entries.get(name)
        if entry is None or entry.get("image") != stamp(image):
            return False
        return set(files) <= set(entry["files"]) and all((self.folder / file).is_file() for file in files)

    def add(self, name: str, image: Path, files: Sequence[str], areas: Sequence[Mapping[str, Any]]) -> None:
        """Note that an image is finished, once its files are on disk."""
        entry = {
            "name": name,
            "identity": self.identity,
            "image": stamp(image),
            "files": list(files),
            "areas": [dict(row) for row in areas],
        }
        self.entries[name] = entry
        with (self.folder / NAME).open("a", encoding="utf-8") as file:
            file.write("" if self._ends_with_a_line() else "\n")
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _ends_with_a_line(self) -> bool:
        """Whether nothing was cut off at the end of the file."""
        with (self.folder / NAME).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            return file.read() in (b"", b"\n")


def stamp(image: Path) -> list[Any]:
    """Path, size and time of change of an image."""
    status = image.stat()
    return [str(image.resolve()), status.st_size, status.st_mtime_ns]


def _read(file: Path) -> dict[str, dict[str, Any]]:
    """The last entry of every image; a last line that a crash has cut off counts as not written."""
    entries: dict[str, dict[str, Any]] = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and {"name", "image", "files"} <= entry.keys():
            entries[entry["name"]] = entry
    return entries

"""Remembers which images of a dataset look alike: comparing them takes minutes, reading the answer no time."""

import hashlib
import json
import warnings
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from unet_exp.data._fingerprint import is_current, read_fingerprint
from unet_exp.data._likeness import alike_groups
from unet_exp.files import write_atomically

_VERSION = 1
"""Raised when the comparison gives another answer for the same images."""


@dataclass(frozen=True, kw_only=True)
class _Content:
    """What the file holds: the images that were compared, as a hash, and the ids in every group of several."""

    images: str
    groups: list[list[str]]


_CONTENT = TypeAdapter(_Content)


class LikenessFile:
    """The groups of alike images of one dataset, kept in a file.

    Args:
        file: Where; a file that is missing, damaged or of other images counts as empty.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def compare(self, fingerprints: Mapping[str, str | None], *, jobs: int = 1) -> dict[str, str]:
        """The first id of the group of every image.

        Args:
            fingerprints: Of each image by case id; None where an image could not be read, which is like no other.
            jobs: Pairs compared at the same time.
        """
        known = {name: text for name, text in sorted(fingerprints.items()) if text is not None and is_current(text)}
        images = hashlib.sha256(json.dumps([_VERSION, list(known.items())]).encode()).hexdigest()
        groups = self._read(images)
        if groups is None:
            groups = _compare(known, jobs)
            self._write(_Content(images=images, groups=groups))
        first = {name: group[0] for group in groups for name in group}
        return {name: first.get(name, name) for name in fingerprints}

    def _read(self, images: str) -> list[list[str]] | None:
        try:
            content = _CONTENT.validate_json(self._file.read_bytes())
        except (OSError, ValidationError):
            return None
        return content.groups if content.images == images else None

    def _write(self, content: _Content) -> None:
        try:
            write_atomically(self._file, _CONTENT.dump_json(content))
        except OSError as error:
            warnings.warn(
                f"{self._file}: cannot be written ({error.strerror}); the images will be compared again the next time.",
                stacklevel=2,
            )


def _compare(fingerprints: Mapping[str, str], jobs: int) -> list[list[str]]:
    numbers = alike_groups([read_fingerprint(text) for text in fingerprints.values()], jobs=jobs)
    groups: dict[int, list[str]] = defaultdict(list)
    for name, number in zip(fingerprints, numbers, strict=True):
        groups[number].append(name)
    return [group for group in groups.values() if len(group) > 1]

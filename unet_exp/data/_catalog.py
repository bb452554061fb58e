"""Remembers what is known about files, so that unchanged ones are not decoded again."""

import json
import os
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import PIL
from pydantic import TypeAdapter, ValidationError

from unet_exp.data._case import Case
from unet_exp.data._examination import Examination
from unet_exp.data._progress import progress
from unet_exp.files import write_atomically

# Another version of Pillow may decode a JPEG to other pixels, and equal images are found by their pixels.
_VERSION = f"1, Pillow {PIL.__version__}"
_SAVE_EVERY = 30.0
"""Seconds of work that a kill may cost."""

_Stamp = tuple[int, int]
"""Size in bytes and time of change in nanoseconds."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """An examination, and the files as they were then."""

    image: _Stamp
    mask: _Stamp
    examination: Examination


@dataclass(frozen=True, kw_only=True)
class _Content:
    """What the file of a catalogue holds; entries by the paths of image and mask."""

    version: str
    entries: dict[str, _Entry]


_CONTENT = TypeAdapter(_Content)


class Catalog:
    """What was found out about cases, kept in a file.

    A case is known again by the names of its files, relative to the catalogue, their sizes and their times of
    change. Several processes may use one file: it is replaced as a whole, and the last one's knowledge stays.

    Args:
        file: Where the catalogue is kept; a file that is missing, damaged or of another version counts as empty.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._entries = _read_entries(file)

    def examine_all(
        self,
        cases: Sequence[Case],
        examine: Callable[[Case], Examination],
        *,
        jobs: int,
        fresh: bool = False,
        is_enough: Callable[[Examination], bool] = lambda _: True,
    ) -> dict[str, Examination]:
        """Examine the cases whose files are new or have changed.

        What was examined is kept, also if this is interrupted.

        Args:
            cases: The cases, their ids unique.
            examine: Examines one case; must not raise because of a bad file.
            jobs: Cases examined, and thus held in memory, at the same time.
            fresh: Examine all, whatever is known.
            is_enough: Whether what is known of an unchanged case is all that is asked for.

        Returns:
            An examination for each case's id, in the order of `cases`.
        """
        stamps = {case.id: _stamps(case) for case in cases}
        known = {} if fresh else {case.id: self._recall(case, stamps[case.id]) for case in cases}
        found = {name: seen for name, seen in known.items() if seen and is_enough(seen)}
        rest = [case for case in cases if case.id not in found]

        def work(case: Case) -> Case:
            found[case.id] = examine(case)
            self._remember(case, stamps[case.id], found[case.id])
            return case

        if rest:
            self._run(work, rest, jobs)
        return {case.id: found[case.id] for case in cases}

    def _run(self, work: Callable[[Case], Case], cases: Sequence[Case], jobs: int) -> None:
        threads = ThreadPoolExecutor(jobs)
        saved = time.monotonic()
        try:
            with progress("Verifying", len(cases), "files") as bar:
                for future in as_completed([threads.submit(work, case) for case in cases]):
                    future.result()
                    bar.advance(1)
                    if time.monotonic() - saved > _SAVE_EVERY:
                        self._save()
                        saved = time.monotonic()
        finally:
            threads.shutdown(cancel_futures=True)
            self._save()

    def _recall(self, case: Case, stamps: tuple[_Stamp, _Stamp] | None) -> Examination | None:
        entry = self._entries.get(self._key(case))
        return entry.examination if entry and (entry.image, entry.mask) == stamps else None

    def _remember(self, case: Case, stamps: tuple[_Stamp, _Stamp] | None, examination: Examination) -> None:
        # `stamps` are from before the examination, so that a change in the meantime is noticed the next time.
        # What could not be read is tried again each time: the disk or the memory may have been at fault.
        if stamps and examination.image_shape and examination.mask_shape:
            self._entries[self._key(case)] = _Entry(image=stamps[0], mask=stamps[1], examination=examination)

    def _key(self, case: Case) -> str:
        folder = self._file.parent
        return json.dumps([os.path.relpath(path, folder) for path in (case.image, case.mask)])

    def _save(self) -> None:
        content = _Content(version=_VERSION, entries=dict(self._entries))
        try:
            write_atomically(self._file, _CONTENT.dump_json(content))
        except OSError as error:
            warnings.warn(
                f"{self._file}: cannot be written ({error.strerror}); all files will be examined again the next time.",
                stacklevel=2,
            )


def _read_entries(file: Path) -> dict[str, _Entry]:
    try:
        content = _CONTENT.validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return {}
    return content.entries if content.version == _VERSION else {}


def _stamps(case: Case) -> tuple[_Stamp, _Stamp] | None:
    """Stamps of image and mask; None if one is not there."""
    try:
        image, mask = case.image.stat(), case.mask.stat()
    except OSError:
        return None
    return (image.st_size, image.st_mtime_ns), (mask.st_size, mask.st_mtime_ns)

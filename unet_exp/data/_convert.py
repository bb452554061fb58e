"""Building a store: every case read once, in parallel, at a place fixed beforehand."""

import errno
import os
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_exp.data._atomic import make_once
from unet_exp.data._case import Case, Image, Labels
from unet_exp.data._progress import progress
from unet_exp.data._store import (
    IMAGES,
    INDEX,
    LABELS,
    LOCATIONS,
    STORE_VERSION,
    DamagedStoreError,
    Entry,
    Store,
    expected_sizes,
    file_stamps,
    index_text,
    locations_crc,
    store_key,
)
from unet_exp.errors import DataError

LOCATIONS_PER_CLASS = 1024
"""Positions kept per class and case: enough to draw balanced patches, few enough to open at once."""

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TEXT_SHARE = 4096
"""Bytes reckoned per case for the index."""

Shapes = tuple[tuple[int, ...], tuple[int, ...]]
"""Shapes of the image and of the class ids of one case."""


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What a store is made of.

    Args:
        name: Name of the dataset, for the folder.
        recipe: What the arrays depend on besides the files; plain values.
        cases: The cases, their `content` and `mask_content` known.
        shapes: Shapes of each case's arrays, by its id.
        read: Gives image and class ids of a case in those shapes.
        mpp: Micrometres per pixel of the arrays, None if unknown.
        num_classes: Number of class ids.
    """

    name: str
    recipe: Mapping[str, Any]
    cases: Sequence[Case]
    shapes: Mapping[str, Shapes]
    read: Callable[[Case], tuple[Image, Labels]]
    mpp: float | None
    num_classes: int

    @cached_property
    def key(self) -> str:
        """Hash over content and recipe."""
        return store_key(self.recipe, {case.id: (case.content, case.mask_content) for case in self.cases})

    @property
    def folder_name(self) -> str:
        """Name of the store's folder: dataset and key."""
        return f"{self.name}-{self.key}"

    @property
    def size(self) -> int:
        """Bytes that the store will need at most."""
        pixels = sum(int(np.prod(shape)) for shapes in self.shapes.values() for shape in shapes)
        dimensions = max((len(labels) for _, labels in self.shapes.values()), default=2)
        per_case = LOCATIONS_PER_CLASS * self.num_classes * dimensions * 4 + _TEXT_SHARE
        return pixels + len(self.cases) * per_case


def open_store(conversion: Conversion, parent: Path, *, jobs: int, say: Callable[[str], None]) -> Store:
    """Open the store of a dataset; build it first if it is missing or damaged.

    Args:
        conversion: What the store holds.
        parent: Folder of all stores.
        jobs: Cases read at the same time.
        say: Told what is being done when it takes time.

    Raises:
        DataError: If a file cannot be read, or the disk is full; nothing half-written is left.
    """
    folder = parent / conversion.folder_name
    opened: list[Store] = []

    def is_current() -> bool:
        try:
            opened[:] = [Store(folder, conversion.key)]
        except DamagedStoreError as error:
            if folder.exists():
                say(f"{folder} is damaged: {error}. It is built again.")
            return False
        return True

    def make(temporary: Path) -> None:
        _require_space(conversion, parent, say)
        _build(conversion, temporary, jobs)

    make_once(folder, is_current, make)
    return opened[0] if opened else Store(folder, conversion.key)


def _require_space(conversion: Conversion, parent: Path, say: Callable[[str], None]) -> None:
    free = shutil.disk_usage(parent).free
    need = f"{conversion.size / 1e9:.2f} GB in {parent.resolve()}, {free / 1e9:.2f} GB are free"
    if conversion.size > free:
        raise DataError(f"The store of {conversion.name} needs {need}. Make room, or set store_folder=<folder>.")
    say(f"Converting {len(conversion.cases)} cases of {conversion.name}: at most {need}.")


def _build(conversion: Conversion, folder: Path, jobs: int) -> None:
    entries = _laid_out(conversion)
    try:
        done = _write_arrays(conversion, entries, folder, jobs)
        entries = _write_locations([done[entry.id] for entry in entries], folder)
        content = {
            "version": STORE_VERSION,
            "key": conversion.key,
            "recipe": dict(conversion.recipe),
            "files": file_stamps(folder),
            "cases": [asdict(entry) for entry in entries],
        }
        with (folder / INDEX).open("w", encoding="utf-8") as file:
            file.write(index_text(content))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        raise DataError(
            f"The disk of {folder.parent.resolve()} is full ({error.strerror}): the store of {conversion.name} needs "
            f"{conversion.size / 1e9:.2f} GB. Nothing half-written is left. Make room, or set store_folder=<folder>."
        ) from None


def _laid_out(conversion: Conversion) -> list[Entry]:
    """An entry per case with its place; check sums and counts follow."""
    entries, image_offset, labels_offset = [], 0, 0
    for case in sorted(conversion.cases, key=lambda case: case.id):
        image_shape, labels_shape = conversion.shapes[case.id]
        entries.append(
            Entry(
                id=case.id,
                patient=case.patient,
                institution=case.institution,
                mpp=conversion.mpp,
                image_shape=image_shape,
                labels_shape=labels_shape,
                image_offset=image_offset,
                labels_offset=labels_offset,
                image_crc=0,
                labels_crc=0,
                locations_crc=0,
                class_pixels=(),
                location_counts=(),
                location_offset=0,
            )
        )
        image_offset += int(np.prod(image_shape))
        labels_offset += int(np.prod(labels_shape))
    return entries


@dataclass(frozen=True)
class _Written:
    entry: Entry
    locations: list[NDArray[np.int32]]


def _write_arrays(conversion: Conversion, entries: Sequence[Entry], folder: Path, jobs: int) -> dict[str, _Written]:
    cases = {case.id: case for case in conversion.cases}
    sizes = expected_sizes(entries)
    written: dict[str, _Written] = {}
    with (folder / IMAGES).open("wb") as images, (folder / LABELS).open("wb") as labels:
        for file, name in ((images, IMAGES), (labels, LABELS)):
            if sizes[name]:
                os.posix_fallocate(file.fileno(), 0, sizes[name])  # a full disk is found here, not hours later

        def convert(entry: Entry) -> _Written:
            return _convert(conversion, cases[entry.id], entry, images.fileno(), labels.fileno())

        threads = ThreadPoolExecutor(jobs)
        try:
            with progress(f"Converting {conversion.name}", len(entries), "files") as bar:
                for future in as_completed([threads.submit(convert, entry) for entry in entries]):
                    result = future.result()
                    written[result.entry.id] = result
                    bar.advance(1)
        finally:
            threads.shutdown(cancel_futures=True)
        for file in (images, labels):
            os.fsync(file.fileno())
    return written


def _convert(conversion: Conversion, case: Case, entry: Entry, images: int, labels: int) -> _Written:
    image, ids = conversion.read(case)
    if image.shape != entry.image_shape or ids.shape != entry.labels_shape:
        raise DataError(f"{case.image}: it has changed while it was being converted. Run the command again.")
    image, ids = np.ascontiguousarray(image), np.ascontiguousarray(ids)
    _write_at(images, image, entry.image_offset)
    _write_at(labels, ids, entry.labels_offset)
    # Row by row, or slice by slice: of a whole volume bincount would make a copy of eight times its size.
    counts = np.sum([np.bincount(part.reshape(-1), minlength=256) for part in ids], axis=0)[: conversion.num_classes]
    generator = np.random.default_rng(zlib.crc32(case.id.encode()))
    locations = [sample_locations(ids, k, generator) for k in range(conversion.num_classes)]
    entry = replace(
        entry,
        image_crc=zlib.crc32(image.data),
        labels_crc=zlib.crc32(ids.data),
        locations_crc=locations_crc(locations),
        class_pixels=tuple(int(count) for count in counts),
    )
    return _Written(entry, locations)


def _write_at(file: int, array: NDArray[np.uint8], offset: int) -> None:
    rest = array.data.cast("B")
    while rest:
        count = os.pwrite(file, rest[: 2**30], offset)  # Linux writes at most 2 GiB in one call
        rest, offset = rest[count:], offset + count


def sample_locations(labels: Labels, class_id: int, generator: np.random.Generator) -> NDArray[np.int32]:
    """Positions of pixels of one class, drawn evenly over all of them.

    Args:
        labels: Class ids (H, W), or (Z, H, W).
        class_id: The class.
        generator: Draws the positions.

    Returns:
        (n, labels.ndim), n at most `LOCATIONS_PER_CLASS`, sorted.
    """
    rows = labels.reshape(-1, labels.shape[-1])
    ends = np.cumsum(np.count_nonzero(rows == class_id, axis=1))
    total = int(ends[-1])
    if total <= LOCATIONS_PER_CLASS:
        ranks = np.arange(total)
    else:
        ranks = np.sort(generator.choice(total, LOCATIONS_PER_CLASS, replace=False, shuffle=False))
    chosen_rows = np.searchsorted(ends, ranks, side="right")
    starts = np.concatenate([[0], ends])
    columns = [
        np.flatnonzero(rows[row] == class_id)[rank - starts[row]] for row, rank in zip(chosen_rows, ranks, strict=True)
    ]
    leading = np.unravel_index(chosen_rows, labels.shape[:-1])
    return np.stack([*leading, np.array(columns, np.int64)], axis=1).astype(np.int32)


def _write_locations(written: Sequence[_Written], folder: Path) -> list[Entry]:
    entries, offset = [], 0
    with (folder / LOCATIONS).open("wb") as file:
        for one in written:
            counts = tuple(len(positions) for positions in one.locations)
            entries.append(replace(one.entry, location_counts=counts, location_offset=offset))
            for positions in one.locations:
                file.write(np.ascontiguousarray(positions).tobytes())
            offset += sum(counts)
        file.flush()
        os.fsync(file.fileno())
    return entries

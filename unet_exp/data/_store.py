"""Images and class ids of a dataset at one resolution, memory-mapped: converted once, then served at memory speed.

A store is a folder named after what is in it: a hash over the pixels of every case, the recipe (resolution, label
map, stain) and the version of this format. Other content therefore has another name, and a store is never stale.

Format: ``images.bin`` and ``labels.bin`` hold the arrays one after the other, ``locations.bin`` sampled positions
of every class, ``index.json`` where everything is, with check sums; its first line is its own.
"""

import hashlib
import json
import operator
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

STORE_VERSION = 1
"""Raised whenever the same files would give other bytes; older stores are then not used any more."""

IMAGES, LABELS, LOCATIONS, INDEX = "images.bin", "labels.bin", "locations.bin", "index.json"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Where one case lies in the store.

    Args:
        id: Name of the case.
        patient: Its patient.
        institution: Where it was made, empty if unknown.
        mpp: Micrometres per pixel of the stored arrays, None if unknown.
        image_shape: Shape of the image, channels last.
        labels_shape: Shape of the class ids.
        image_offset: First byte in images.bin.
        labels_offset: First byte in labels.bin.
        image_crc: CRC-32 of the image.
        labels_crc: CRC-32 of the class ids.
        locations_crc: CRC-32 of the sampled positions.
        class_pixels: Pixels of each class id.
        location_counts: Sampled positions of each class id.
        location_offset: First position in locations.bin, counted in positions.
    """

    id: str
    patient: str
    institution: str
    mpp: float | None
    image_shape: tuple[int, ...]
    labels_shape: tuple[int, ...]
    image_offset: int
    labels_offset: int
    image_crc: int
    labels_crc: int
    locations_crc: int
    class_pixels: tuple[int, ...]
    location_counts: tuple[int, ...]
    location_offset: int


@dataclass(frozen=True)
class StoredCase:
    """One case, as views into the memory-mapped files.

    Args:
        image: (H, W, C) uint8, or whatever shape the source stores; read-only.
        labels: (H, W) uint8 class ids; read-only.
        class_pixels: (K,) pixels of each class id.
        locations: Per class id, sampled positions (n, labels.ndim) int32 of its pixels.
        origin: The store and the case's id in it; None for arrays that are not part of a store.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    class_pixels: NDArray[np.int64]
    locations: tuple[NDArray[np.int32], ...]
    origin: "tuple[Store, str] | None" = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes as a place in a store: worker processes that are not forked get no copy."""
        if self.origin is None:
            return StoredCase, (self.image, self.labels, self.class_pixels, self.locations)
        return operator.getitem, self.origin


class DamagedStoreError(Exception):
    """The folder is not a complete, undamaged store of the expected key."""


class Store:
    """An open store; its pages are shared by all processes that map it.

    Args:
        folder: The folder of the store.
        key: What it must hold, see `store_key`.

    Raises:
        DamagedStoreError: If it does not.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.key = key
        content = _read_index(folder / INDEX)
        if content.get("version") != STORE_VERSION or content.get("key") != key:
            raise DamagedStoreError("it was made for other content")
        self._entries = {entry["id"]: _entry(entry) for entry in content["cases"]}
        if content["files"] != file_stamps(folder):
            # Copied to another disk, perhaps: the time stamps are new, but are the bytes the same?
            self.check()

    def __getstate__(self) -> dict[str, Any]:
        """Travel to other processes as a path: pickling the maps would copy all pixels."""
        return {"folder": self.folder, "key": self.key, "_entries": self._entries}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Where each case lies, by its id."""
        return self._entries

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum((self.folder / name).stat().st_size for name in (IMAGES, LABELS, LOCATIONS, INDEX))

    @cached_property
    def _images(self) -> NDArray[np.uint8]:
        return _mapped(self.folder / IMAGES, np.uint8)

    @cached_property
    def _labels(self) -> NDArray[np.uint8]:
        return _mapped(self.folder / LABELS, np.uint8)

    @cached_property
    def _locations(self) -> NDArray[np.int32]:
        return _mapped(self.folder / LOCATIONS, np.int32)

    def __getitem__(self, case_id: str) -> StoredCase:
        entry = self._entries[case_id]
        return StoredCase(
            image=_cut(self._images, entry.image_offset, entry.image_shape),
            labels=_cut(self._labels, entry.labels_offset, entry.labels_shape),
            class_pixels=np.array(entry.class_pixels, np.int64),
            locations=self._locations_of(entry),
            origin=(self, case_id),
        )

    def _locations_of(self, entry: Entry) -> tuple[NDArray[np.int32], ...]:
        dimensions = len(entry.labels_shape)
        positions = self._locations.reshape(-1, dimensions)[entry.location_offset :]
        ends = np.cumsum(entry.location_counts)
        return tuple(positions[end - count : end] for end, count in zip(ends, entry.location_counts, strict=True))

    def check(self) -> None:
        """Compare every byte with the check sums of the index.

        Raises:
            DamagedStoreError: Naming the first case that differs.
        """
        for name, expected in expected_sizes(list(self._entries.values())).items():
            found = (self.folder / name).stat().st_size if (self.folder / name).is_file() else -1
            if found != expected:
                raise DamagedStoreError(f"{name} has {found} bytes instead of {expected}")
        for case_id, entry in self._entries.items():
            stored = self[case_id]
            sums = zlib.crc32(stored.image.data), zlib.crc32(stored.labels.data), locations_crc(stored.locations)
            if sums != (entry.image_crc, entry.labels_crc, entry.locations_crc):
                raise DamagedStoreError(f"the pixels of {case_id} have changed")


def store_key(recipe: Mapping[str, Any], contents: Mapping[str, Sequence[str]]) -> str:
    """Name of what a store holds: 16 hexadecimal digits.

    Args:
        recipe: What the arrays depend on besides the files; plain values.
        contents: Per case id, hashes of the pixels of image and mask.
    """
    canonical = json.dumps([STORE_VERSION, recipe, contents], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def locations_crc(locations: Sequence[NDArray[np.int32]]) -> int:
    """CRC-32 over the sampled positions of all classes."""
    crc = 0
    for positions in locations:
        crc = zlib.crc32(np.ascontiguousarray(positions).data, crc)
    return crc


def expected_sizes(entries: Sequence[Entry]) -> dict[str, int]:
    """Bytes that each data file must have."""
    positions = sum(sum(entry.location_counts) * len(entry.labels_shape) for entry in entries)
    return {
        IMAGES: sum(int(np.prod(entry.image_shape)) for entry in entries),
        LABELS: sum(int(np.prod(entry.labels_shape)) for entry in entries),
        LOCATIONS: positions * np.dtype(np.int32).itemsize,
    }


def file_stamps(folder: Path) -> dict[str, list[int]]:
    """Size and modification time of the data files, to see at once whether somebody has touched them."""
    stamps = {}
    for name in (IMAGES, LABELS, LOCATIONS):
        try:
            stat = (folder / name).stat()
        except OSError:
            raise DamagedStoreError(f"{name} is missing") from None
        stamps[name] = [stat.st_size, stat.st_mtime_ns]
    return stamps


def index_text(content: Mapping[str, Any]) -> str:
    """Text of index.json: a check sum line, then the content."""
    body = json.dumps(content)
    return f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}\n"


def _read_index(path: Path) -> dict[str, Any]:
    try:
        checksum, _, body = path.read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        raise DamagedStoreError("its index is missing or unreadable") from None
    if hashlib.sha256(body.removesuffix("\n").encode()).hexdigest() != checksum:
        raise DamagedStoreError("its index is damaged")
    content: dict[str, Any] = json.loads(body)
    return content


def _entry(fields: Mapping[str, Any]) -> Entry:
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    try:
        return Entry(**plain)
    except TypeError:
        raise DamagedStoreError("its index has other fields") from None


def _mapped(path: Path, dtype: type[Any]) -> NDArray[Any]:
    if not path.stat().st_size:
        return np.zeros(0, dtype)  # an empty file cannot be mapped
    # A plain array over the map: slices of np.memmap are several times slower.
    return np.memmap(path, dtype, mode="r").view(np.ndarray)


def _cut(flat: NDArray[np.uint8], offset: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return flat[offset : offset + int(np.prod(shape))].reshape(shape)

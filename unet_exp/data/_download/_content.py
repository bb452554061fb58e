"""Is a file what it claims to be? Read to its last byte before it gets its name."""

import struct
import threading
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from PIL import Image
from pydantic import TypeAdapter, ValidationError

from unet_exp.errors import DataError

Check = Callable[[Path], None]
"""Raises DataError if the file is not what is expected."""

T = TypeVar("T")

_IMAGE_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\x00", b"MM\x00*")
_ZIP_MAGIC = b"PK\x03\x04"
# A region of a slide takes 400 MB decoded: one at a time, however many are fetched at once.
_DECODING = threading.Lock()


def looks_like_web_page(head: bytes) -> bool:
    """Whether a file starts like HTML: the login page of a network, or a server's apology with status 200."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:15].lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script"))


def check_image(path: Path, size: tuple[int, int] | None = None, tolerance: int = 0) -> None:
    """Decode an image completely and check its checksums.

    Args:
        path: PNG, JPEG, BMP or TIFF file.
        size: Expected width and height in pixels.
        tolerance: Pixels by which either may differ.

    Raises:
        DataError: If it is no image, is cut off, or has another size.
    """
    _require_magic(path, _IMAGE_MAGIC, "an image")
    try:
        with Image.open(path) as image:
            actual = image.size
            if size is not None and any(abs(a - b) > tolerance for a, b in zip(actual, size, strict=True)):
                raise DataError(f"the image is {actual[0]}x{actual[1]} px where {size[0]}x{size[1]} px are expected")
            image.verify()  # reads every checksum; decoding alone would not
        with _DECODING, Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise DataError(f"the image is damaged or cut off ({error})") from None


def check_zip(path: Path) -> None:
    """Unpack a zip file completely, to nowhere, and check its checksums.

    Raises:
        DataError: If it is no zip file, or is damaged or cut off.
    """
    _require_magic(path, (_ZIP_MAGIC,), "a zip file")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error, RuntimeError, NotImplementedError) as error:
        raise DataError(f"the zip file is damaged or cut off ({error})") from None
    if damaged is not None:
        raise DataError(f"the zip file is damaged: {damaged} does not match its checksum")


def read_json(path: Path, adapter: TypeAdapter[T]) -> T:
    """Read a JSON file of a given structure.

    Raises:
        DataError: If it is not JSON or has another structure.
    """
    try:
        return adapter.validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"the server's answer is not understood ({place + ': ' if place else ''}{first['msg']})"
        ) from None


def _require_magic(path: Path, magics: tuple[bytes, ...], kind: str) -> None:
    with path.open("rb") as file:
        head = file.read(16)
    if not head.startswith(magics):
        raise DataError(f"this is not {kind}; it begins with {head[:8]!r}")

"""Facts about the two files of a case, found by decoding them completely once.

They do not depend on classes, split or resolution, so they stay true until a file changes (`Catalog`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unet_exp.data._case import Case
from unet_exp.data._finding import Finding
from unet_exp.data._fingerprint import fingerprint
from unet_exp.data._image import PictureError, read_codes, read_image
from unet_exp.data._picture_header import (
    PictureHeader,
    damage,
    image_peculiarities,
    mask_peculiarities,
    read_header,
)

Subject = Literal["image", "mask"]

_BAND = 2**20
"""Pixels handled at once, so that a region of a slide is not copied as a whole."""
_CODES = 2**16


@dataclass(frozen=True, kw_only=True)
class Note:
    """A finding that does not yet know where its file lies.

    Args:
        kind: A key of `KINDS`.
        subject: Which file of the case it concerns.
        detail: What exactly was seen.
    """

    kind: str
    subject: Subject
    detail: str


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What is known about a case; plain values.

    Args:
        image_shape: Height, width and channels, upright; empty if the image cannot be read.
        mask_shape: Height and width, upright; empty if the mask cannot be read.
        image_content: Hash over shape and pixels: the same in every file type that holds these pixels.
        mask_content: Hash over shape and codes.
        code_pixels: Pixels of each raw code in the mask.
        notes: What is wrong or unusual about the files.
        fingerprint: What the image looks like, see `unet_exp.data._fingerprint`; None where nobody has asked.
    """

    image_shape: tuple[int, ...]
    mask_shape: tuple[int, ...]
    image_content: str
    mask_content: str
    code_pixels: dict[int, int]
    notes: tuple[Note, ...]
    fingerprint: str | None = None

    def findings(self, case: Case) -> list[Finding]:
        """The notes as findings about the files of `case`."""
        files = {"image": case.image, "mask": case.mask}
        return [Finding(kind=note.kind, file=files[note.subject], detail=note.detail) for note in self.notes]


def examine_picture(case: Case, *, with_fingerprint: bool = False) -> Examination:
    """Decode image and mask as training does, and note everything about them; a bad file is a note, no error.

    Args:
        case: The case.
        with_fingerprint: Also note what the image looks like, which takes longer than decoding a small one.
    """
    image, image_header, image_notes = _decode(case.image, "image")
    image_shape = () if image is None else image.shape
    image_content = "" if image is None else pixel_content(image)
    looks = fingerprint(image) if with_fingerprint and image is not None else None
    del image  # a region of a slide takes hundreds of megabytes
    codes, mask_header, mask_notes = _decode(case.mask, "mask")
    notes = [*image_notes, *mask_notes]
    if image_header and mask_header:
        notes += _orientation_note(image_header, mask_header)
    return Examination(
        image_shape=image_shape,
        mask_shape=() if codes is None else codes.shape,
        image_content=image_content,
        mask_content="" if codes is None else pixel_content(codes),
        code_pixels={} if codes is None else count_codes(codes),
        notes=tuple(notes),
        fingerprint=looks,
    )


def pixel_content(pixels: NDArray[np.integer]) -> str:
    """Hash (BLAKE2b, 128 bits) over shape and values from 0 to 65535, whatever their type."""
    digest = blake2b(repr(pixels.shape).encode(), digest_size=16)
    for band in _bands(pixels):
        digest.update(band.astype("<u2").tobytes())
    return digest.hexdigest()


def count_codes(codes: NDArray[np.integer]) -> dict[int, int]:
    """Pixels of each code from 0 to 65535 that occurs."""
    counts = np.zeros(_CODES, np.int64)
    for band in _bands(codes):
        counts += np.bincount(band.reshape(-1), minlength=_CODES)
    return {int(code): int(counts[code]) for code in np.flatnonzero(counts)}


def _bands(array: NDArray[np.integer]) -> Iterator[NDArray[np.integer]]:
    rows = max(1, _BAND // max(1, array[:1].size))
    return (array[start : start + rows] for start in range(0, len(array), rows))


def _decode(path: Path, subject: Subject) -> tuple[NDArray[np.integer] | None, PictureHeader | None, list[Note]]:
    """Pixels, header and notes; without pixels if the file is of no use."""
    try:
        pixels = read_image(path) if subject == "image" else read_codes(path)
        header = read_header(path)
        broken = damage(path, header)
    except PictureError as error:
        return None, None, [Note(kind=error.kind, subject=subject, detail=_reason(error, path))]
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        detail = f"Decoding it failed ({type(error).__name__}: {error})."
        return None, None, [Note(kind="unreadable", subject=subject, detail=detail)]
    found = [("damaged", broken)] if broken else []
    found += image_peculiarities(header) if subject == "image" else mask_peculiarities(header)
    return pixels, header, [Note(kind=kind, subject=subject, detail=detail) for kind, detail in found]


def _reason(error: PictureError, path: Path) -> str:
    start = path.read_bytes()[:512] if path.is_file() else None
    if start == b"":
        return "The file is empty."
    if start and start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "It is a web page, not a picture."
    # Without the folder, so that the note stays true if the dataset is moved.
    reason = error.reason.replace(str(path), path.name)
    return reason[0].upper() + reason[1:]


def _orientation_note(image: PictureHeader, mask: PictureHeader) -> list[Note]:
    if image.orientation == mask.orientation == 1:
        return []
    if image.orientation == mask.orientation:
        detail = f"Both image and mask have EXIF orientation {image.orientation}."
        return [Note(kind="rotated_picture", subject="image", detail=detail)]
    detail = f"The EXIF orientation of the image is {image.orientation}, that of the mask {mask.orientation}."
    return [Note(kind="orientation_differs", subject="image", detail=detail)]

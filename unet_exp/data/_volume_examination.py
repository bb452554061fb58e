"""Facts about a CT volume and its mask, found by reading both completely once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from unet_exp.data._case import Case
from unet_exp.data._examination import Examination, Note, Subject
from unet_exp.data._image import PictureError
from unet_exp.data._nifti import Volume, as_codes, check_gzip, volume_error

_CODES = 2**16
_DARKEST_FAT = -200.0
"""Hounsfield units. Every CT scan shows air, which is far below."""


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What is known about one file."""

    shape: tuple[int, ...] = ()
    axes: str = ""
    content: str = ""
    code_pixels: dict[int, int] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


def examine_volume(case: Case) -> Examination:
    """Read volume and mask as training does, and note everything about them; a bad file is a note, no error."""
    image = _tried(_image_facts, case.image, "image")
    mask = _tried(_mask_facts, case.mask, "mask")
    return Examination(
        image_shape=image.shape,
        mask_shape=mask.shape,
        image_content=image.content,
        mask_content=mask.content,
        code_pixels=mask.code_pixels,
        notes=(*image.notes, *mask.notes, *_axes_notes(image.axes, mask.axes)),
    )


def _tried(facts: Callable[[Path], _Facts], path: Path, subject: Subject) -> _Facts:
    try:
        check_gzip(path)
        return facts(path)
    except PictureError as error:
        # Without the folder, so that the note stays true if the dataset is moved.
        reason = error.reason.replace(str(path), path.name)
        return _Facts(notes=(Note(kind=error.kind, subject=subject, detail=reason[0].upper() + reason[1:]),))


def _image_facts(path: Path) -> _Facts:
    volume = Volume(path)
    digest, lowest = _digest(volume), np.inf
    for _, values in volume.slabs():
        unusable = np.count_nonzero(~np.isfinite(values))
        if unusable:
            raise volume_error(path, "not_finite", f"holds {unusable} or more voxels that are NaN or infinite.")
        lowest = min(lowest, float(values.min()))
        digest.update(values)
    notes = []
    if lowest > _DARKEST_FAT:
        detail = f"Its lowest value is {lowest:g}, but air is near -1000."
        notes.append(Note(kind="not_hounsfield", subject="image", detail=detail))
    return _Facts(shape=volume.shape, axes=volume.axes, content=digest.hexdigest(), notes=tuple(notes))


def _mask_facts(path: Path) -> _Facts:
    volume = Volume(path)
    digest, counts = _digest(volume), np.zeros(_CODES, np.int64)
    for _, values in volume.slabs():
        codes = as_codes(values, path)
        counts += np.bincount(codes.reshape(-1), minlength=_CODES)
        digest.update(codes)
    code_pixels = {int(code): int(counts[code]) for code in np.flatnonzero(counts)}
    return _Facts(shape=volume.shape, axes=volume.axes, content=digest.hexdigest(), code_pixels=code_pixels)


def _digest(volume: Volume) -> Any:
    """A hash (BLAKE2b, 128 bits) that begins with the shape."""
    return blake2b(repr(volume.shape).encode(), digest_size=16)


def _axes_notes(image: str, mask: str) -> list[Note]:
    if image and mask and image != mask:
        detail = f"The axes of the volume point to {image}, those of the mask to {mask}."
        return [Note(kind="axes_differ", subject="mask", detail=detail)]
    if image and image[2] not in "SI":
        detail = f"The axes of volume and mask point to {image}: the third is not that of the slices."
        return [Note(kind="axes_permuted", subject="image", detail=detail)]
    return []

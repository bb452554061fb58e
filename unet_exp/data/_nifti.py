"""CT volumes and their masks in NIfTI files, brought into one orientation slab by slab.

A volume may take half a gigabyte on disk and eight times as much in double precision, so no more than a slab of it
is ever held as floats. Axes of what is read: slices from the feet to the head, rows from front to back, columns
from the patient's right to the left, as radiologists look at a slice.
"""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from unet_exp.data._case import Image, LabelMap, Labels
from unet_exp.data._image import PictureError

_ORIENTATIONS: Any = nibabel.orientations  # its functions carry no annotations

SLICES_ROWS_COLUMNS = ("S", "P", "L")
"""Where the axes of every volume point once it is read: superior, posterior, left."""

_SLAB = 2**22
"""Voxels held as floats at once."""
_CHUNK = 2**20
_CODES = 2**16


class Volume:
    """An open NIfTI file.

    Args:
        path: A ``.nii`` file, which is mapped into memory, or a ``.nii.gz`` file, which is unpacked into it.

    Attributes:
        path: The file.
        axes: Where the axes of the file point, e.g. ``LPS``.
        shape: Slices, rows, columns as they are read.

    Raises:
        PictureError: If the file is missing, damaged, or not one volume.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            file: Any = nibabel.load(path)
            stored = file.dataobj.get_unscaled()
            self._slope, self._intercept = float(file.dataobj.slope), float(file.dataobj.inter)
            orientation = _ORIENTATIONS.io_orientation(file.affine)
        except Exception as error:  # nibabel raises whatever a damaged file leads it to
            reason = f"cannot be read as a NIfTI volume ({type(error).__name__}: {error})."
            raise volume_error(path, "unreadable", reason, "Get the file again, or remove it.") from None
        self._check(stored, orientation)
        self.axes = "".join(_ORIENTATIONS.ornt2axcodes(orientation))
        wanted = _ORIENTATIONS.axcodes2ornt(SLICES_ROWS_COLUMNS)
        turn = _ORIENTATIONS.ornt_transform(orientation, wanted)
        three_axes = stored[(..., *([0] * (stored.ndim - 3)))]
        self._voxels: NDArray[Any] = _ORIENTATIONS.apply_orientation(three_axes, turn)  # a view
        slices, rows, columns = self._voxels.shape
        self.shape = slices, rows, columns

    def _check(self, stored: NDArray[np.generic], orientation: NDArray[np.floating]) -> None:
        if stored.ndim < 3 or any(side != 1 for side in stored.shape[3:]) or not stored.size:
            reason = f"holds an array of shape {tuple(stored.shape)}; expected one volume with three axes."
            raise volume_error(self.path, "not_a_volume", reason)
        if stored.dtype.kind not in "iuf":
            raise volume_error(self.path, "not_a_volume", f"holds {stored.dtype} values; expected numbers.")
        if np.isnan(orientation).any():
            reason = "its affine matrix does not say where its axes point."
            raise volume_error(self.path, "not_a_volume", reason)

    def slabs(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Neighbouring slices at once: which ones, and their values (n, H, W), rescaled as the header says."""
        depth = max(1, _SLAB // (self.shape[1] * self.shape[2]))
        for start in range(0, self.shape[0], depth):
            place = slice(start, start + depth)
            values = np.array(self._voxels[place], np.float32, order="C")
            if (self._slope, self._intercept) != (1.0, 0.0):
                values = values * np.float32(self._slope) + np.float32(self._intercept)
            yield place, values


def volume_error(path: Path, kind: str, reason: str, remedy: str = "") -> PictureError:
    """The error about a file that is of no use; `kind` is a key of `KINDS`."""
    error = PictureError(f"{path}: {reason} {remedy}".rstrip())
    error.kind, error.reason = kind, reason
    return error


def check_gzip(path: Path) -> None:
    """Make sure that a ``.gz`` file is whole; nibabel stops reading before the check sum at its end.

    Raises:
        PictureError: If it is not.
    """
    if path.suffix != ".gz":
        return
    try:
        with gzip.open(path) as file:
            while file.read(_CHUNK):
                pass
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = f"the compressed file is not whole ({error})."
        raise volume_error(path, "damaged", reason, "Get the file again, or remove it.") from None


def read_volume(path: Path, window: Sequence[float]) -> Image:
    """Read a CT volume as grey values (Z, H, W, 1) uint8.

    Args:
        path: The file, in Hounsfield units.
        window: The lowest value, which becomes 0, and the highest, which becomes 255; others are cut.

    Raises:
        PictureError: If the file is damaged or not one volume.
    """
    volume = Volume(path)
    grey = np.empty((*volume.shape, 1), np.uint8)
    for place, values in volume.slabs():
        grey[place, ..., 0] = apply_window(values, window)
    return grey


def apply_window(values: NDArray[np.float32], window: Sequence[float]) -> NDArray[np.uint8]:
    """Map the values of a window to 0..255, rounded to the nearest."""
    low, high = window
    return np.rint((values.clip(low, high) - low) * (255 / (high - low))).astype(np.uint8)


def read_volume_labels(path: Path, label_map: LabelMap) -> Labels:
    """Read the mask of a volume as class ids (Z, H, W).

    Raises:
        DataError: If the file is damaged, not one volume, or holds an unknown code.
    """
    volume = Volume(path)
    labels = np.empty(volume.shape, np.uint8)
    for place, values in volume.slabs():
        labels[place] = label_map.apply(as_codes(values, path), path)
    return labels


def as_codes(values: NDArray[np.float32], path: Path) -> NDArray[np.uint16]:
    """The values of a mask as whole numbers.

    Raises:
        PictureError: If one is a fraction, NaN, negative or beyond 65535.
    """
    valid = (values >= 0) & (values < _CODES) & (values == np.rint(values))
    if not valid.all():
        reason = f"holds {values[~valid][0]:g} where codes from 0 to 65535 are expected."
        raise volume_error(path, "no_codes", reason)
    return values.astype(np.uint16)

"""CT volumes in NIfTI files: predicted slice by slice, saved as the file is oriented."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from unet_exp.data._case import Image
from unet_exp.data._nifti import SLICES_ROWS_COLUMNS, check_gzip, read_volume
from unet_exp.data._slices import slice_stack
from unet_exp.errors import UserError
from unet_exp.files import write_atomically
from unet_exp.inference import ImageReader
from unet_exp.prediction.description import ModelDescription

_ORIENTATIONS: Any = nibabel.orientations  # its functions carry no annotations
_MILLIMETRES = {"meter": 1e3, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}


class OpenedVolume:
    """A volume opened for prediction.

    Args:
        path: The file.
        grey: Grey values (Z, H, W, 1).
        slices: Channels of the network.

    Attributes:
        shape: Slices, rows and columns, turned as `unet_exp.data._nifti` turns them.
        readers: One image per slice: the slice with its neighbours (H, W, slices).
    """

    def __init__(self, path: Path, grey: Image, slices: int) -> None:
        self.path = path
        self.shape = grey.shape[0], grey.shape[1], grey.shape[2]
        self.readers: Sequence[ImageReader] = [StackReader(grey, number, slices) for number in range(len(grey))]

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel in cubic millimetres; a file that gives no unit is taken to mean millimetres."""
        file: Any = nibabel.load(self.path)
        unit = _MILLIMETRES.get(file.header.get_xyzt_units()[0], 1.0)
        return float(abs(np.linalg.det(file.affine[:3, :3]))) * unit**3

    def save_labels(self, labels: NDArray[np.uint8], path: Path) -> None:
        """Save class ids with orientation, shape, affine matrix and header of the volume's file.

        Args:
            labels: (Z, H, W), of `shape`.
            path: A ``.nii`` or ``.nii.gz`` file.
        """
        file: Any = nibabel.load(self.path)
        turned = _turned_back(labels, file.affine).reshape(file.shape)
        header = file.header.copy()
        header.set_data_dtype(np.uint8)
        header.set_slope_inter(1, 0)
        header["cal_min"] = header["cal_max"] = 0  # the window of the grey values, which viewers would apply
        content: bytes = type(file)(turned, file.affine, header).to_bytes()
        write_atomically(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _turned_back(labels: NDArray[np.uint8], affine: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Class ids (Z, H, W) along the axes of a file."""
    read = _ORIENTATIONS.axcodes2ornt(SLICES_ROWS_COLUMNS)
    turn = _ORIENTATIONS.ornt_transform(read, _ORIENTATIONS.io_orientation(affine))
    return np.asarray(_ORIENTATIONS.apply_orientation(labels, turn), np.uint8)


class StackReader:
    """A slice of a volume with its neighbours as channels.

    Args:
        grey: Grey values (Z, H, W, 1).
        center: The slice.
        slices: Number of channels.
    """

    def __init__(self, grey: Image, center: int, slices: int) -> None:
        self._grey = grey
        self._center = center
        self._slices = slices

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self._grey.shape[1], self._grey.shape[2]

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """Pixels (height, width, slices) of a rectangle that lies within the slice."""
        rows, columns = slice(top, top + height), slice(left, left + width)
        return slice_stack(self._grey, self._center, self._slices, rows, columns)


def open_volume(path: Path, description: ModelDescription) -> OpenedVolume:
    """Read a volume, its values cut to the window that the network was trained with.

    Raises:
        DataError: If the file is damaged or not one volume.
        UserError: If the network does not read volumes.
    """
    if description.slices is None or description.intensity_window is None:
        raise UserError(
            f"{path}: is a volume, but {description.name} reads pictures. Use a network trained on volumes, such as "
            "data=lits."
        )
    check_gzip(path)
    return OpenedVolume(path, read_volume(path, description.intensity_window), description.slices)

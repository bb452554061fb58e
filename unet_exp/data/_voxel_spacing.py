"""How large the voxels of a NIfTI file are."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from unet_exp.data._nifti import volume_error

_ORIENTATIONS: Any = nibabel.orientations  # its functions carry no annotations
_AFFINES: Any = nibabel.affines

Spacing = tuple[float, float, float]
"""Millimetres between slices, rows and columns."""

_SLICE_ROW_COLUMN = ("SI", "AP", "LR")


def voxel_spacing(path: Path) -> Spacing:
    """Read the distances between slices, rows and columns, in mm, from the header alone.

    Raises:
        PictureError: If the file cannot be read, or a distance is no positive number.
    """
    try:
        affine = nibabel.load(path).affine  # type: ignore[attr-defined]
        sizes, axes = _AFFINES.voxel_sizes(affine), _ORIENTATIONS.aff2axcodes(affine)
        found = [float(sizes[next(i for i, side in enumerate(axes) if side in ends)]) for ends in _SLICE_ROW_COLUMN]
    except Exception as error:  # nibabel raises whatever a damaged file leads it to
        raise volume_error(path, "unreadable", f"its header does not tell the size of a voxel ({error}).") from None
    if not all(np.isfinite(size) and size > 0 for size in found):
        raise volume_error(path, "unreadable", f"its header gives voxels of {found} mm; expected positive sizes.")
    slices, rows, columns = found
    return slices, rows, columns

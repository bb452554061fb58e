"""Finding image files and opening them, each in its own way."""

import re
from collections.abc import Iterable
from glob import glob
from pathlib import Path

import openslide

from unet_exp.data._pairing import PICTURE_SUFFIXES
from unet_exp.errors import DataError, UserError
from unet_exp.prediction.description import ModelDescription
from unet_exp.prediction.image import OpenedImage
from unet_exp.prediction.picture import open_picture
from unet_exp.prediction.slide import open_slide, read_slide
from unet_exp.prediction.volume import open_volume

__all__ = ["find_images", "is_slide", "is_volume", "open_image", "open_volume"]

_SLIDE_SUFFIXES = (".svs", ".svslide", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu")
_VOLUME_SUFFIXES = (".nii", ".nii.gz")
_SUFFIXES = (*PICTURE_SUFFIXES, *_SLIDE_SUFFIXES, *_VOLUME_SUFFIXES)
_PICTURE_PIXELS = 2**26
"""A tiled TIFF without smaller levels is read whole, as a picture, up to this size: 200 MB in memory."""


def find_images(pattern: str) -> list[Path]:
    """Images of a file, a folder or a glob, in natural order: 2 before 10.

    Of a folder, or where a glob matches more than images, those are taken whose suffix is known and that are not
    hidden. Folders within a folder are left alone, since masks often lie there; ``folder/**`` finds images at any
    depth. A file that is there is meant literally, whatever its name and suffix.

    Raises:
        UserError: If there are none.
    """
    path = Path(pattern).expanduser()
    if path.is_file():
        return [path]
    is_folder = path.is_dir()
    found = path.iterdir() if is_folder else (Path(one) for one in glob(str(path), recursive=True))  # noqa: PTH207
    try:
        images = sorted(_images(found), key=_natural)
    except OSError as error:
        raise UserError(f"input: cannot read {pattern}: {error.strerror}.") from None
    if images:
        return images
    looked_for = f"Images end in {', '.join(_SUFFIXES)}"
    if is_folder:
        raise UserError(
            f"input: the folder {pattern} holds no images. {looked_for}; write {path}/** to search its folders too."
        )
    raise UserError(f"input: there is no file, folder or image that matches {pattern}. {looked_for}.")


def _images(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.name.lower().endswith(_SUFFIXES) and path.name[0] != "." and path.is_file()]


def _natural(path: Path) -> list[str | int]:
    """Text and numbers in turns, so that like meets like."""
    return [int(part) if number % 2 else part for number, part in enumerate(re.split(r"(\d+)", str(path).lower()))]


def is_volume(path: Path) -> bool:
    """Whether a file is a volume, by its name."""
    return path.name.lower().endswith(_VOLUME_SUFFIXES)


def is_slide(path: Path) -> bool:
    """Whether a file is read region by region; a damaged one counts as none.

    That is what OpenSlide knows, but for a plain TIFF in tiles that has no smaller levels and fits into memory.
    """
    if is_volume(path):
        return False
    vendor = openslide.OpenSlide.detect_format(path)
    if vendor != "generic-tiff":
        return vendor is not None
    try:
        with read_slide(path) as file:
            width, height = file.dimensions
            return bool(file.level_count > 1 or width * height > _PICTURE_PIXELS)
    except DataError:
        return True  # opening it will say what is wrong


def open_image(path: Path, description: ModelDescription, *, input_mpp: float | None) -> OpenedImage:
    """Open a picture or a slide at the resolution of the network.

    Args:
        path: The file.
        description: What the network expects.
        input_mpp: Micrometres per pixel of the file; None takes what the file says.

    Raises:
        DataError: If the file is missing, damaged or cut off.
        UserError: If the network reads something else, or needs to know the size of the pixels and nobody says it.
    """
    if description.slices is not None:
        raise UserError(f"{path}: is not a volume, but {description.name} reads volumes (NIfTI: .nii, .nii.gz).")
    if description.in_channels != 3:
        raise UserError(
            f"{path}: pictures are read as RGB, but {description.name} has {description.in_channels} input channels."
        )
    if is_volume(path):
        raise UserError(f"{path}: is a volume, but {description.name} reads pictures.")
    return (open_slide if is_slide(path) else open_picture)(path, description, input_mpp=input_mpp)

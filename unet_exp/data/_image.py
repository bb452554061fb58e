"""Reading and resampling of image and mask files."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps

from unet_exp.data._case import Image
from unet_exp.errors import DataError

# OpenCV's own threads deadlock after fork and fight with the loader's processes for cores.
cv2.setNumThreads(0)
# Pillow's limit guards web servers; a region of a slide has more than 90 million pixels.
PillowImage.MAX_IMAGE_PIXELS = None


class PictureError(DataError):
    """A file that is of no use as an image or as a mask; only the message survives the way out of a worker process."""

    kind: str = "unreadable"
    """A key of `KINDS`."""
    reason: str = ""
    """What is wrong, without the name of the file and without a remedy."""


def _picture_error(path: Path, kind: str, reason: str, remedy: str = "") -> PictureError:
    error = PictureError(f"{path}: {reason} {remedy}".rstrip())
    error.kind, error.reason = kind, reason
    return error


def read_image(path: Path) -> Image:
    """Read a file as RGB (H, W, 3) uint8, upright as its EXIF tag says, alpha dropped.

    Raises:
        PictureError: If the file is missing, damaged, or has more than 8 bits per channel.
    """
    try:
        with PillowImage.open(path) as file:
            if file.mode.startswith(("I", "F")):
                reason = f"{file.mode} pixels; expected 8 bits per channel."
                raise _picture_error(path, "too_many_bits", reason, "Convert it to 8-bit RGB.")
            # No copies where nothing changes: a region of a slide takes hundreds of megabytes.
            ImageOps.exif_transpose(file, in_place=True)
            return np.asarray(file if file.mode == "RGB" else file.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        reason = f"cannot be read as an image ({error})."
        raise _picture_error(path, "unreadable", reason, "Replace or remove the file.") from None


def read_codes(path: Path) -> NDArray[np.integer]:
    """Read a mask file as raw codes (H, W); palette files give their indices, 1-bit files 0 and 255.

    Raises:
        PictureError: If the file is missing, damaged, or a colour picture.
    """
    try:
        with PillowImage.open(path) as file:
            ImageOps.exif_transpose(file, in_place=True)
            codes = np.asarray(file.convert("L") if file.mode == "1" else file)
    except (OSError, SyntaxError, ValueError) as error:
        reason = f"cannot be read as a mask ({error})."
        raise _picture_error(path, "unreadable", reason, "Replace or remove the file.") from None
    if codes.ndim == 3:
        if not (codes[..., :3] == codes[..., :1]).all():
            raise _picture_error(
                path, "colour_mask", "a colour picture where a mask with one code per pixel is expected."
            )
        codes = codes[..., 0]
    if codes.dtype.kind not in "ui" or codes.min(initial=0) < 0 or codes.max(initial=0) >= 2**16:
        raise _picture_error(path, "no_codes", f"{codes.dtype} values where codes from 0 to 65535 are expected.")
    return codes


def resize_image(image: Image, size: tuple[int, int]) -> Image:
    """Resample (H, W, 3) to `size` (height, width): area averages when shrinking, cubic when enlarging."""
    if image.shape[:2] == size:
        return image
    shrinks = size[0] * size[1] < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size[::-1], interpolation=method), np.uint8)


def resize_labels(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resample class ids (H, W) to `size` (height, width) by nearest neighbour: no new ids appear."""
    if labels.shape == size:
        return labels
    # INTER_NEAREST is half a pixel off; INTER_NEAREST_EXACT uses pixel centres, as INTER_AREA does.
    return np.asarray(cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)

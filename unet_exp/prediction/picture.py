"""Pictures: PNG, JPEG, TIFF, BMP, whole in memory."""

from pathlib import Path
from typing import Literal, cast

from unet_exp.data._image import read_image, resize_image
from unet_exp.data._picture_header import damage, read_header
from unet_exp.data._stain import normalize_stain
from unet_exp.errors import DataError
from unet_exp.inference import ArrayReader
from unet_exp.prediction.description import ModelDescription
from unet_exp.prediction.image import RGB, OpenedImage
from unet_exp.prediction.resolution import fitted_size, grid_size, picture_mpp


class Picture(OpenedImage):
    """A picture, whole in memory; what is predicted has the size of the file.

    Args:
        path: The file.
        pixels: The file (H, W, 3), upright.
        mpp: Micrometres per pixel; None if unknown.
        network_pixels: The same at the resolution of the network.
    """

    def __init__(self, path: Path, pixels: RGB, mpp: float | None, network_pixels: RGB) -> None:
        size = pixels.shape[0], pixels.shape[1]
        super().__init__(path, size=size, mpp=mpp, reader=ArrayReader(network_pixels), output_size=size)
        self._pixels = pixels

    def picture(self, longest_side: int) -> RGB:
        """The image as a person sees it, no longer than so many pixels; never enlarged."""
        return resize_image(self._pixels, fitted_size(self.size, longest_side))


def open_picture(path: Path, description: ModelDescription, *, input_mpp: float | None) -> Picture:
    """Read a picture and bring it to what the network expects, as training does.

    Raises:
        DataError: If the file is damaged, cut off, or has more than 8 bits per channel.
        UserError: If the network needs to know the size of its pixels, and nobody says it.
    """
    pixels = read_image(path)
    reason = damage(path, read_header(path))
    if reason:
        raise DataError(f"{path}: the file is damaged. {reason} Get it again, or remove it.")
    mpp = picture_mpp(path) if input_mpp is None else input_mpp
    size = description.image_size or grid_size((pixels.shape[0], pixels.shape[1]), mpp, description, path)
    network_pixels = resize_image(pixels, size)
    if description.stain != "none":
        network_pixels = normalize_stain(network_pixels, cast(Literal["macenko", "reinhard"], description.stain))
    return Picture(path, pixels, mpp, network_pixels)

"""An image file opened for prediction, whatever its format."""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unet_exp.inference import ImageReader

RGB = NDArray[np.uint8]
"""(H, W, 3)."""


class OpenedImage(ABC):
    """An image file opened for prediction.

    Args:
        path: The file.
        size: Height and width of the file, in its finest pixels ("level 0" of a slide).
        mpp: Micrometres per such pixel; None if unknown.
        reader: The image at the resolution that the network works at.
        output_size: Height and width of the predicted class ids.
    """

    def __init__(
        self, path: Path, *, size: tuple[int, int], mpp: float | None, reader: ImageReader, output_size: tuple[int, int]
    ) -> None:
        self.path = path
        self.size = size
        self.mpp = mpp
        self.reader = reader
        self.output_size = output_size

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the file per pixel of the prediction, down and across."""
        return self.size[0] / self.output_size[0], self.size[1] / self.output_size[1]

    @abstractmethod
    def picture(self, longest_side: int) -> RGB:
        """The image as a person sees it, no longer than so many pixels; never enlarged."""

    def close(self) -> None:  # noqa: B027 - most formats hold nothing open
        """Give back what the file holds open."""

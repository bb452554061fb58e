"""What images are read from and what predictions are written to."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from unet_exp.errors import DataError

Pixels = NDArray[np.uint8]


class ImageReader(Protocol):
    """An image of any size, read piece by piece. One thread reads at a time."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        ...

    def read(self, top: int, left: int, height: int, width: int) -> Pixels:
        """Pixels (height, width, C) of a rectangle that lies within the image."""
        ...


class LabelWriter(Protocol):
    """Takes predictions in bands from top to bottom, each as wide as the image. One thread writes at a time."""

    def write(self, top: int, labels: Pixels, probabilities: NDArray[np.float32] | None) -> None:
        """Take the rows from `top` on.

        Args:
            top: Number of the first row.
            labels: Class ids (rows, W).
            probabilities: (K, rows, W) if they were asked for; with one output, of class 1.
        """
        ...


class ImageJob(NamedTuple):
    """One image to predict.

    Args:
        reader: The image.
        writer: Takes the prediction.
        output_size: Height and width of the prediction, to which logits are interpolated; None: those of the image.
    """

    reader: ImageReader
    writer: LabelWriter
    output_size: tuple[int, int] | None = None


class ArrayReader:
    """Reads from an array or memory map.

    Args:
        pixels: (H, W, C) uint8.

    Raises:
        DataError: If it is anything else.
    """

    def __init__(self, pixels: Pixels) -> None:
        if pixels.ndim != 3 or pixels.dtype != np.uint8:
            raise DataError(
                f"an image must be uint8 of shape (H, W, C), but got {pixels.dtype} of shape {pixels.shape}; convert it"
            )
        self.pixels = pixels

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def read(self, top: int, left: int, height: int, width: int) -> Pixels:
        """Pixels (height, width, C) of a rectangle that lies within the image."""
        return self.pixels[top : top + height, left : left + width]


class ArrayWriter:
    """Writes to arrays or memory maps.

    Args:
        labels: (H, W) uint8, filled.
        probabilities: (K, H, W) of any float type, filled; None where they are not wanted.
    """

    def __init__(self, labels: Pixels, probabilities: NDArray[np.floating] | None = None) -> None:
        self.labels = labels
        self.probabilities = probabilities

    def write(self, top: int, labels: Pixels, probabilities: NDArray[np.float32] | None) -> None:
        """Take the rows from `top` on."""
        self.labels[top : top + len(labels)] = labels
        if self.probabilities is not None and probabilities is not None:
            self.probabilities[:, top : top + len(labels)] = probabilities


def read_padded(reader: ImageReader, rows: tuple[int, int], columns: tuple[int, int]) -> Pixels:
    """Pixels (height, width, C) of a rectangle that may reach beyond the image, whose border is repeated there.

    Args:
        reader: The image.
        rows: First row and the one after the last.
        columns: First column and the one after the last.

    Raises:
        DataError: If the reader gives something else than it was asked for.
    """
    (height, width), (top, bottom), (left, right) = reader.shape, rows, columns
    inside = max(0, top), max(0, left), min(height, bottom), min(width, right)
    size = inside[2] - inside[0], inside[3] - inside[1]
    pixels = reader.read(inside[0], inside[1], *size)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[:2] != size:
        raise DataError(
            f"{type(reader).__name__}.read gave {pixels.dtype} of shape {pixels.shape} at row {inside[0]}, column "
            f"{inside[1]}; it must give uint8 of shape ({size[0]}, {size[1]}, C)"
        )
    beyond = ((inside[0] - top, bottom - inside[2]), (inside[1] - left, right - inside[3]), (0, 0))
    return np.pad(pixels, beyond, mode="edge") if any(map(any, beyond)) else pixels

"""Where a prediction is collected: a file without a name, since class ids of a slide do not fit into memory."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from unet_exp.errors import UserError


class Canvas:
    """Collects the bands of one image and says when the last one was written.

    It is an `unet_exp.inference.LabelWriter`. What it holds lies in unnamed files of the output folder, which the
    system removes however the program ends.

    Args:
        size: Height and width of the prediction.
        folder: The output folder.
        channels: Channels of the probabilities; 0 for none.
        finish: Called when the last row was written, in the thread that writes.

    Raises:
        UserError: If the disk has no room for it.
    """

    def __init__(
        self, size: tuple[int, int], folder: Path, *, channels: int, finish: Callable[["Canvas"], None]
    ) -> None:
        self.labels = unnamed_array(folder, size, np.uint8)
        self.probabilities = unnamed_array(folder, (channels, *size), np.float16) if channels else None
        self._finish = finish

    def write(self, top: int, labels: NDArray[np.uint8], probabilities: NDArray[np.float32] | None) -> None:
        """Take the rows from `top` on."""
        bottom = top + len(labels)
        self.labels[top:bottom] = labels
        if self.probabilities is not None and probabilities is not None:
            self.probabilities[:, top:bottom] = probabilities
        if bottom == len(self.labels):
            self._finish(self)


def unnamed_array(folder: Path, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array in a file of `folder` that has no name and ends with the array.

    Raises:
        UserError: If the disk has no room for it.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)  # writing to a map on a full disk would kill the process
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        raise UserError(
            f"output: {folder} has no room for {size / 1e6:,.0f} MB of predictions ({error.strerror})."
        ) from None

"""A finished prediction, ready to be written in any format."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_exp.prediction.description import ModelDescription
from unet_exp.prediction.image import OpenedImage


@dataclass(frozen=True)
class Prediction:
    """What was predicted of one image.

    Args:
        image: The image.
        description: What the classes are.
        labels: Class ids (H, W) uint8; a memory map, since a slide does not fit into memory.
        probabilities: (K, H, W) float16, or of class 1 alone with one output; a memory map. None unless asked for.
    """

    image: OpenedImage
    description: ModelDescription
    labels: NDArray[np.uint8]
    probabilities: NDArray[Any] | None = None

    @property
    def mpp(self) -> float | None:
        """Micrometres per pixel of `labels`, None if unknown."""
        down, across = self.image.scale
        return None if self.image.mpp is None else self.image.mpp * float(np.sqrt(down * across))

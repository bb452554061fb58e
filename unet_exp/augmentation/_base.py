"""What the augmentations share: their base classes and the type of a range in yaml."""

from collections.abc import Mapping
from typing import Annotated, Any

import albumentations
import cv2
import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from unet_exp.bounds import NonNegativeFloat, PositiveFloat

# OpenCV's own threads deadlock after fork and fight with the loader's processes for cores.
cv2.setNumThreads(0)

Pixels = NDArray[np.uint8]
"""Image (H, W, 3) or class ids (H, W)."""
Params = Mapping[str, Any]


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise PydanticCustomError("range", "The first number of a range must not be above the second")
    return limits


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
"""Lowest and highest value of a uniform draw."""
NonNegativeRange = Annotated[tuple[NonNegativeFloat, NonNegativeFloat], AfterValidator(_ordered)]
PositiveRange = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_ordered)]
CountRange = Annotated[tuple[Annotated[int, Ge(0)], Annotated[int, Ge(0)]], AfterValidator(_ordered)]


class ImageTransform(albumentations.ImageOnlyTransform):  # type: ignore[misc]
    """Changes the image and leaves the class ids alone.

    Subclasses draw only from `random_generator` and `py_random`, which the dataset replaces for every sample.
    What they draw, and what they measure in `image`, is applied to every further image of the sample alike.

    Args:
        p: Share of the samples that are changed.
    """

    random_generator: np.random.Generator

    def uniform(self, limits: tuple[float, float]) -> float:
        """One number drawn from a range."""
        return float(self.random_generator.uniform(*limits))

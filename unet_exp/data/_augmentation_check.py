"""Does an augmentation fit images that are not RGB? Found out before training, not in the middle of it."""

import copy
import random
from typing import TYPE_CHECKING

import numpy as np

from unet_exp.errors import ConfigError

if TYPE_CHECKING:
    from unet_exp.data._dataset import Augmentation

_SIDE = 32
_DRAWS = 64
"""A change inside a transform that is made once in five times is missed once in a million."""


def refuse_unfit(augmentation: "Augmentation", channels: int) -> None:
    """Try every transform of a pipeline on small images.

    Args:
        augmentation: An albumentations pipeline.
        channels: Channels of the images.

    Raises:
        ConfigError: Naming the first transform that fails, or changes the shape or type of an image.
    """
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (_SIDE, _SIDE, channels), np.uint8)
    for original in getattr(augmentation, "transforms", ()):
        transform = copy.deepcopy(original)
        transform.p = 1.0  # always, not in its share of the samples
        transform.set_random_state(generator, random.Random(0))
        for _ in range(_DRAWS):
            try:
                changed = transform(image=image.copy(), mask=np.zeros((_SIDE, _SIDE), np.uint8))["image"]
                fits = changed.shape == image.shape and changed.dtype == image.dtype
            except Exception:  # transforms and OpenCV raise whatever too many channels lead them to
                fits = False
            if not fits:
                raise ConfigError(
                    [
                        f"augmentation: {type(transform).__name__} does not work on images with {channels} channels "
                        "(data.in_channels). Use augmentation=light or none, or leave this transform out."
                    ]
                )

"""Predictions made of arrays."""

from pathlib import Path

import numpy as np
from PIL import Image

from unet_exp.inference import ArrayReader
from unet_exp.prediction.description import ModelDescription
from unet_exp.prediction.image import OpenedImage
from unet_exp.prediction.result import Prediction

PALETTE = [(90, 90, 90), (220, 38, 38), (37, 99, 235), (22, 163, 74), (234, 179, 8), (147, 51, 234)]


class ArrayImage(OpenedImage):
    """An image (H, W, 3) in memory."""

    def __init__(self, image, *, size=None, mpp=None, output_size=None, name="image.png"):
        super().__init__(
            Path(name),
            size=size or image.shape[:2],
            mpp=mpp,
            reader=ArrayReader(image),
            output_size=output_size or image.shape[:2],
        )
        self._image = image

    def picture(self, longest_side):
        height, width = self._image.shape[:2]
        factor = min(1, longest_side / max(height, width))
        return np.asarray(Image.fromarray(self._image).resize((round(width * factor), round(height * factor))))


def description(class_names=("outside", "tumor", "stroma", "other"), scored=(1, 2, 3), **changes):
    values = {
        "name": "test",
        "class_names": list(class_names),
        "palette": [PALETTE[index % len(PALETTE)] for index in range(len(class_names))],
        "scored_classes": list(scored),
        "num_outputs": len(class_names),
        "in_channels": 3,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    return ModelDescription(**{**values, **changes})


def prediction(labels, *, image=None, size=None, mpp=None, probabilities=None, name="image.png", **described):
    """A prediction of an image with `size` pixels, by default as many as the labels have."""
    labels = np.asanyarray(labels, np.uint8)
    shown = np.full((8, 8, 3), 200, np.uint8) if image is None else image
    size = size or labels.shape
    opened = ArrayImage(shown, size=size, mpp=mpp, output_size=labels.shape, name=name)
    return Prediction(opened, description(**described), labels, probabilities)


def blobs(shape, classes, *, seed=0, smooth=8.0):
    """A map of irregular regions."""
    from scipy.ndimage import gaussian_filter

    generator = np.random.default_rng(seed)
    fields = [gaussian_filter(generator.standard_normal(shape), smooth) for _ in range(classes)]
    return np.argmax(fields, 0).astype(np.uint8)

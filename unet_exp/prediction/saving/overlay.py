"""The image with its scored classes tinted and outlined, and below it what the colours mean."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_exp.prediction.image import RGB
from unet_exp.prediction.result import Prediction
from unet_exp.prediction.saving.areas import class_counts
from unet_exp.prediction.saving.complete_file import complete_file
from unet_exp.prediction.saving.legend import Entry, draw_legend, font_size

_LONGEST_SIDE = 4096
_OPACITY = 0.4
_PIXELS_PER_LINE = 1000
"""Longest side of a picture whose outlines are one pixel wide on each side of a border."""
_QUALITY = 90


def save_overlay(prediction: Prediction, path: Path) -> None:
    """Write a JPEG of at most about 4096 pixels, the legend below the image; small images are not enlarged."""
    picture = prediction.image.picture(_LONGEST_SIDE)
    tinted = tint(picture, _reduced(prediction.labels, picture.shape[:2]), prediction)
    legend = draw_legend(_entries(prediction), tinted.shape[1], font_size(max(tinted.shape[:2])))
    drawn = np.full((tinted.shape[0] + legend.shape[0], legend.shape[1], 3), 255, np.uint8)
    drawn[: tinted.shape[0], : tinted.shape[1]] = tinted
    drawn[tinted.shape[0] :] = legend
    with complete_file(path) as file:
        # Without subsampling, which would blur the colours of thin outlines.
        Image.fromarray(drawn).save(file, "JPEG", quality=_QUALITY, subsampling=0)


def tint(picture: RGB, ids: NDArray[np.uint8], prediction: Prediction) -> RGB:
    """Lay the colours of the scored classes over a picture and draw their outlines.

    Args:
        picture: (H, W, 3).
        ids: Class ids (H, W).
        prediction: Says what the classes are.
    """
    description = prediction.description
    shown = np.isin(np.arange(256), description.scored_classes)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(description.palette)] = description.palette
    colors = palette[ids]
    blended = cv2.addWeighted(picture, 1 - _OPACITY, colors, _OPACITY, 0)
    result = np.where(shown[ids][..., None], blended, picture)
    width = max(1, round(max(ids.shape) / _PIXELS_PER_LINE))
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    border = (cv2.dilate(ids, kernel) != cv2.erode(ids, kernel)) & shown[ids]
    result[border] = colors[border]
    return result


def _reduced(labels: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """The ids at the centres of the pixels of a picture; only these are read."""
    rows, columns = (
        np.minimum(((np.arange(shown) + 0.5) * (whole / shown)).astype(np.intp), whole - 1)
        for shown, whole in zip(size, labels.shape, strict=True)
    )
    reduced = np.empty((len(rows), len(columns)), np.uint8)
    for number, row in enumerate(rows):
        reduced[number] = labels[row][columns]
    return reduced


def _entries(prediction: Prediction) -> list[Entry]:
    """Scored classes with their colours, then the others, which are not tinted."""
    description = prediction.description
    counts = class_counts(prediction.labels, len(description.class_names))
    fractions = counts / max(1, prediction.labels.size)
    scored = [index for index in range(len(counts)) if index in description.scored_classes]
    return [
        Entry(description.class_names[index], float(fractions[index]), description.palette[index]) for index in scored
    ] + [
        Entry(description.class_names[index], float(fractions[index]), None) for index in description.background_classes
    ]

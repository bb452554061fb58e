"""Class colours over an image."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Color = Sequence[int]

_IGNORED_GREY = 205.0
_IGNORED_BLEND = 0.65
_HATCH_GAP = 10
"""Pixels from one diagonal line of the hatching to the next."""


def overlay(
    image: NDArray[np.uint8],
    labels: NDArray[np.integer],
    *,
    palette: Sequence[Color],
    ignore_index: int,
    hide: Sequence[int] = (),
    opacity: float = 0.4,
) -> NDArray[np.uint8]:
    """Tint an image with the colours of its classes and outline where one class meets another.

    Args:
        image: (H, W, 3).
        labels: (H, W) class ids.
        palette: RGB per class id.
        ignore_index: Id of pixels without a label; they are greyed and hatched.
        hide: Class ids that are left as they are, e.g. the background of a binary task.
        opacity: Share of the class colour, 0 to 1.

    Returns:
        (H, W, 3).

    Raises:
        ValueError: If the sizes differ or an id has no colour.
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(f"image {image.shape[:2]} and labels {labels.shape} differ in size")
    unlabelled = labels == ignore_index
    known = labels[~unlabelled]
    if known.size and known.max() >= len(palette):
        raise ValueError(f"class id {known.max()} has no colour: the palette has {len(palette)}")
    ids = np.where(unlabelled, 0, labels)
    colors = np.asarray(palette, np.float32).reshape(-1, 3)[ids]
    shown = ~unlabelled & ~np.isin(ids, list(hide))
    share = np.where(shown, opacity, 0.0)
    share[shown & _borders(labels)] = 1.0
    blended = image + share[..., None] * (colors - image)
    return hatch(blended.round().astype(np.uint8), unlabelled)


def hatch(image: NDArray[np.uint8], where: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Grey and hatch the pixels (H, W) of an image (H, W, 3) that carry no label."""
    rows, columns = np.ogrid[: where.shape[0], : where.shape[1]]
    line = (rows + columns) % _HATCH_GAP < 2
    share = np.where(line, 0.9, _IGNORED_BLEND)[..., None]
    greyed = image + share * (np.where(line, 150.0, _IGNORED_GREY)[..., None] - image)
    return np.where(where[..., None], greyed.round(), image).astype(np.uint8)


def _borders(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Pixels (H, W) with a direct neighbour of another id."""
    border = np.zeros(labels.shape, bool)
    down = np.asarray(labels[1:] != labels[:-1])
    right = np.asarray(labels[:, 1:] != labels[:, :-1])
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= right
    border[:, :-1] |= right
    return border

"""What the augmentation does: training samples beside their augmented versions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unet_exp.figure._canvas import INK, MUTED, new_figure, write_png
from unet_exp.figure.overlay import Color, hatch
from unet_exp.figure.panel import _IGNORED, _LEGEND_COLUMNS, _legend, _patch, _place

Sample = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Image (H, W, 3) and class ids (H, W)."""

# Inches.
_WIDEST = 16.0
_NARROWEST = 7.0
_CELL = 2.2
_SMALLEST_CELL = 1.0
_GAP = 0.08
_MARGIN = 0.15
_HEADER = 0.3
_TITLE = 0.3
_LEGEND_ROW = 0.24
_LINE = 1.5 * 72 / 150
"""Points of a line of 1.5 pixels at the resolution of the figures."""


@dataclass(frozen=True)
class PreviewRow:
    """One training sample.

    Args:
        title: For example the case id.
        original: The sample as it is read.
        augmented: The sample after augmentation, any number of times; sizes may differ.
    """

    title: str
    original: Sample
    augmented: Sequence[Sample]


def save_preview_sheet(
    rows: Sequence[PreviewRow],
    path: Path,
    *,
    class_names: Sequence[str],
    palette: Sequence[Color],
    ignore_index: int,
    hide: Sequence[int] = (),
) -> None:
    """Draw one row per sample: the original, then its augmented versions, classes outlined in their colours.

    Args:
        rows: At least one.
        path: The PNG file.
        class_names: Names in the order of the ids.
        palette: RGB per class id.
        ignore_index: Id of pixels without a label; they are greyed and hatched.
        hide: Class ids without outline and legend entry.

    Raises:
        ValueError: If there is no row.
    """
    if not rows:
        raise ValueError("a preview sheet needs at least one row")
    colors = {index: palette[index] for index in range(len(class_names)) if index not in hide}
    columns = 1 + max(len(row.augmented) for row in rows)
    cell = float(np.clip((_WIDEST - 2 * _MARGIN) / columns - _GAP, _SMALLEST_CELL, _CELL))
    entries = [_patch((class_names[index], color)) for index, color in colors.items()]
    if any((labels == ignore_index).any() for row in rows for _, labels in _samples(row)):
        entries.append(_IGNORED)
    below = _LEGEND_ROW * max(1, -(-len(entries) // _LEGEND_COLUMNS)) + _MARGIN
    width = max(_NARROWEST, 2 * _MARGIN + columns * (cell + _GAP) - _GAP)
    height = _HEADER + sum(_TITLE + _row_height(row, cell) for row in rows) + below
    figure = new_figure(width, height)
    for column, name in enumerate(("original", "augmented")[:columns]):
        place = _left(column, cell) / width, 1 - (_HEADER - 0.06) / height
        figure.text(*place, name, fontsize=9, color=MUTED)
    top = height - _HEADER
    for row in rows:
        _draw_row(figure, row, top, cell, colors, ignore_index)
        top -= _TITLE + _row_height(row, cell)
    _legend(figure, entries, (_MARGIN / width, (top - 0.06) / height))
    write_png(figure, path)


def _samples(row: PreviewRow) -> list[Sample]:
    return [row.original, *row.augmented]


def _aspect(sample: Sample) -> float:
    height, width = sample[1].shape
    return float(height / width)


def _left(column: int, cell: float) -> float:
    """Left edge of a column in inches."""
    return _MARGIN + column * (cell + _GAP)


def _row_height(row: PreviewRow, cell: float) -> float:
    """Height of the tallest picture of a row in inches."""
    return cell * max(_aspect(sample) for sample in _samples(row))


def _draw_row(
    figure: Figure, row: PreviewRow, top: float, cell: float, colors: Mapping[int, Color], ignore_index: int
) -> None:
    """Draw title and pictures below a height in inches, with the outlines of the classes that have a colour."""
    width, height = (float(side) for side in figure.get_size_inches())
    figure.text(_MARGIN / width, (top - _TITLE + 0.09) / height, row.title, fontsize=9.5, color=INK, weight="bold")
    for column, (image, labels) in enumerate(_samples(row)):
        picture_height = cell * _aspect((image, labels))
        bottom = top - _TITLE - picture_height
        box = _left(column, cell) / width, bottom / height, cell / width, picture_height / height
        _place(figure, hatch(image, labels == ignore_index), box)
        for index, color in colors.items():
            _outline(figure.axes[-1], labels == index, color)


def _outline(axes: Axes, area: NDArray[np.bool_], color: Color) -> None:
    """Draw the border of an area (H, W), just inside it; the border of the picture is left out."""
    if not area.any():
        return
    padded = np.pad(area, 1, mode="edge").astype(np.uint8)
    contours, _ = cv2.findContours(padded, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    lines = [np.vstack([contour[:, 0], contour[:1, 0]]) - 1.0 for contour in contours]
    rgb = tuple(value / 255 for value in color)
    axes.add_collection(LineCollection(lines, colors=[rgb], linewidths=_LINE), autolim=False)

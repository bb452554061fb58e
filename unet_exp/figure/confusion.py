"""The confusion matrix as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from unet_exp.figure._canvas import INK, MUTED, new_figure, write_png

_DARK = 0.6
"""Share from which a cell of the colour map is too dark for dark text."""


def save_confusion_matrix(matrix: NDArray[np.integer], path: Path, *, class_names: Sequence[str]) -> None:
    """Draw row percentages and pixel counts; the diagonal is the recall of each class.

    Args:
        matrix: (K, K) pixel counts, rows truth, columns prediction.
        path: The PNG file.
        class_names: Names in the order of the ids.

    Raises:
        ValueError: If the matrix is not (K, K).
    """
    count = len(class_names)
    if matrix.shape != (count, count):
        raise ValueError(f"a matrix of {count} x {count} is needed, got {matrix.shape}")
    totals = matrix.sum(1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.full(matrix.shape, np.nan), where=totals > 0)
    cell = 0.92 if count <= 10 else 0.55
    longest = max(map(len, class_names))
    side = cell * count
    left = max(0.5 + 0.085 * longest, 3.1 - side)  # the note above the matrix needs 3 inches
    bottom = 0.5 + 0.06 * longest
    width, height = left + side + 0.2, bottom + side + 0.6
    figure = new_figure(width, height)
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    axes.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1)
    for row in range(count):
        for column in range(count):
            _write_cell(axes, row, column, shares[row, column], int(matrix[row, column]), small=count > 10)
    _label(axes, class_names, totals.ravel())
    right = (left + side) / width
    title, note = "Share of each class's pixels", "rows add up to 100 %; the diagonal is the recall"
    figure.text(right, 1 - 0.12 / height, title, ha="right", va="top", fontsize=10, color=INK, weight="bold")
    figure.text(right, 1 - 0.34 / height, note, ha="right", va="top", fontsize=8, color=MUTED)
    write_png(figure, path)


def _write_cell(axes: Axes, row: int, column: int, share: float, count: int, *, small: bool) -> None:
    """Percentage over count; a dash where the class has no pixels: its recall is unknown, not 0."""
    if np.isnan(share):
        axes.text(column, row, "–", ha="center", va="center", fontsize=9, color=MUTED)
        return
    color = "white" if share > _DARK else INK
    weight = "bold" if row == column else "normal"
    percent = f"{100 * share:.1f}"
    if small:
        axes.text(
            column,
            row,
            f"{100 * share:.0f}",
            ha="center",
            va="center",
            fontsize=8,
            color=color,
            weight=weight,
        )
        return
    axes.text(column, row - 0.12, f"{percent} %", ha="center", va="center", fontsize=9.5, color=color, weight=weight)
    axes.text(column, row + 0.2, short_count(count), ha="center", va="center", fontsize=7, color=color, alpha=0.8)


def _label(axes: Axes, class_names: Sequence[str], totals: NDArray[np.integer]) -> None:
    ticks = range(len(class_names))
    axes.set_xticks(ticks, class_names, rotation=45, ha="right", rotation_mode="anchor", fontsize=9, color=INK)
    axes.set_yticks(ticks, class_names, fontsize=9, color=INK)
    axes.set_xlabel("prediction", fontsize=9, color=MUTED)
    axes.set_ylabel("truth", fontsize=9, color=MUTED)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for edge in range(1, len(class_names)):
        axes.axhline(edge - 0.5, color="white", linewidth=1.5)
        axes.axvline(edge - 0.5, color="white", linewidth=1.5)
    for row in np.flatnonzero(totals == 0):
        axes.add_patch(
            Rectangle((-0.5, row - 0.5), len(class_names), 1, facecolor="#f3f4f6", edgecolor="none", zorder=1)
        )


def short_count(count: int) -> str:
    """Three significant digits and a unit: 950, 12.3 k, 4.56 M."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            scaled = count / size
            digits = 0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2
            return f"{scaled:.{digits}f} {unit}"
    return str(count)

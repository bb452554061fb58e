"""The course of a training: loss, Dice and accuracy per epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from unet_exp.figure._canvas import BLUE, INK, MUTED, ORANGE, new_figure, tidy, write_png

History = Sequence[Mapping[str, float]]
Values = NDArray[np.float64]

_FEW_EPOCHS = 20
"""Up to this many epochs every point gets a dot; a single epoch would be invisible without."""
_PER_CLASS = "val/dice_"


@dataclass(frozen=True)
class _Curve:
    label: str
    color: str | tuple[float, float, float, float]
    values: Values


@dataclass(frozen=True)
class _Best:
    epoch: float
    value: float


def save_curves(
    history: History, path: Path, *, monitor: str, colors: Mapping[str, tuple[int, int, int]] | None = None
) -> None:
    """Draw loss, Dice and accuracy of training and validation, and validation Dice per class.

    Args:
        history: One row per epoch with `epoch` (counted from 0), `train/loss`, `val/dice` and so on; a value
            may be missing or NaN.
        path: The PNG file.
        monitor: The value whose maximum marks the best epoch.
        colors: RGB of each class by name, those of the other pictures; classes not named get some of their own.
    """
    epochs = np.array([row.get("epoch", number) for number, row in enumerate(history)], float) + 1
    best = _find_best(epochs, _values(history, monitor))
    classes = _class_curves(history, colors or {})
    figure = new_figure(9, 6.4 if classes else 3.5)
    grid = figure.subplots(2, 2).ravel() if classes else figure.subplots(1, 3)
    for axes, name in zip(grid, ("loss", "dice", "accuracy"), strict=False):
        curves = [
            _Curve(part, color, _values(history, f"{part}/{name}")) for part, color in (("train", MUTED), ("val", BLUE))
        ]
        _draw(axes, name.capitalize(), epochs, curves, best, score=name != "loss")
        if best is not None and monitor in (f"train/{name}", f"val/{name}"):
            axes.plot(best.epoch, best.value, "o", color=ORANGE, markersize=6, zorder=5)
    if classes:
        _draw(grid[3], "Validation Dice per class", epochs, classes, best, score=True)
    if best is not None:
        title = f"best epoch {best.epoch:.0f} of {epochs.max():.0f}: {monitor} {best.value:.3f}"
        figure.text(0.5, 0.985, title, ha="center", va="top", fontsize=10, color=ORANGE)
    figure.tight_layout(rect=(0, 0, 1, 0.96 if classes else 0.93), w_pad=2, h_pad=2)
    write_png(figure, path)


def _values(history: History, key: str) -> Values:
    return np.array([row.get(key, np.nan) for row in history], float)


def _find_best(epochs: Values, values: Values) -> _Best | None:
    """The first maximum, None if the value was never logged."""
    if not np.isfinite(values).any():
        return None
    index = int(np.argmax(np.where(np.isfinite(values), values, -np.inf)))
    return _Best(float(epochs[index]), float(values[index]))


def _class_curves(history: History, colors: Mapping[str, tuple[int, int, int]]) -> list[_Curve]:
    found = dict.fromkeys(k.removeprefix(_PER_CLASS) for row in history for k in row if k.startswith(_PER_CLASS))
    names = [*(name for name in colors if name in found), *(name for name in found if name not in colors)]
    few = len(names) <= 10
    spare = colormaps["tab10" if few else "turbo"]
    curves = []
    for i, name in enumerate(names):
        color = spare(i if few else i / len(names))
        if name in colors:
            red, green, blue = colors[name]
            color = (red / 255, green / 255, blue / 255, 1.0)
        curves.append(_Curve(name, color, _values(history, _PER_CLASS + name)))
    return curves


def _draw(axes: Axes, title: str, epochs: Values, curves: Sequence[_Curve], best: _Best | None, *, score: bool) -> None:
    """One panel; a curve joins the epochs that have a value, so validating every few epochs gives a line."""
    tidy(axes)
    axes.set_title(title, fontsize=10, color=INK, loc="left", fontweight="bold")
    axes.set_xlabel("epoch", fontsize=8, color=MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    curves = [curve for curve in curves if np.isfinite(curve.values).any()]
    if not curves:
        axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, ha="center", color=MUTED, fontsize=9)
        axes.set_yticks([])
        return
    for curve in curves:
        known = np.isfinite(curve.values)
        marker = "." if len(epochs) <= _FEW_EPOCHS else ""
        axes.plot(
            epochs[known],
            curve.values[known],
            marker=marker,
            linewidth=1.4,
            label=curve.label,
            color=curve.color,
        )
    margin = max(0.5, 0.02 * len(epochs))
    axes.set_xlim(epochs.min() - margin, epochs.max() + margin)
    if score:
        low = min(float(np.nanmin(curve.values)) for curve in curves)
        axes.set_ylim(low - 0.06 * (1 - low) - 0.01, 1.005)
    if best is not None:
        axes.axvline(best.epoch, color=ORANGE, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    legend = axes.legend(
        fontsize=8,
        labelcolor=INK,
        ncols=1 + (len(curves) - 1) // 6,
        loc="lower right" if score else "upper right",
        edgecolor="none",
        framealpha=0.85,
    )
    legend.set_zorder(4)

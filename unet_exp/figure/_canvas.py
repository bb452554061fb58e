"""A figure without pyplot: nothing global, no display, safe in worker threads and on servers."""

import os
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

INK = "#222222"
MUTED = "#6b7280"
RULE = "#d1d5db"
BLUE = "#0072b2"
ORANGE = "#d55e00"
"""Blue and vermilion of Okabe and Ito's palette, told apart by every kind of colour vision."""

_DPI = 150


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure of `width` x `height` inches with its own Agg canvas."""
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """The drawn figure as RGB (H, W, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    rgba = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    return np.asarray(rgba, np.uint8)[..., :3].copy()


def write_png(figure: Figure, path: Path) -> None:
    """Write the figure by way of a temporary file in the same folder, so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            figure.savefig(file, format="png")
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def tidy(axes: Axes) -> None:
    """Leave only what is read: two quiet spines, small ticks, a faint horizontal grid."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(RULE)
    axes.tick_params(labelsize=8, color=RULE, labelcolor=MUTED)
    axes.grid(axis="y", color=RULE, linewidth=0.6, alpha=0.7)
    axes.set_axisbelow(True)

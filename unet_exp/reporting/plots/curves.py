"""The course of training: training and validation, per epoch."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from unet_exp.reporting.plots.canvas import MUTED, SERIES, Plot, drawing, shorten

History = Sequence[Mapping[str, float]]
_Style = Literal["solid", "dashed"]
_PARTS: dict[str, _Style] = {"train": "dashed", "val": "solid"}
_FEW_EPOCHS = 20
"""Up to this many epochs every point gets a dot; a single epoch would be invisible without."""
_FAINT = 0.3


def training_curves(name: str, quantity: str, models: Mapping[str, Sequence[History]]) -> Plot | None:
    """Draw one quantity over the epochs: validation as lines, training dashed; thick the mean, faint each seed.

    Args:
        name: Of the file.
        quantity: `loss`, `accuracy` or `dice`.
        models: Histories of the seeds of each model; at most `DRAWN` models.

    Returns:
        None if no run has logged it.
    """
    logged = [row[f"{part}/{quantity}"] for part in _PARTS for seeds in models.values() for history in seeds
              for row in history if f"{part}/{quantity}" in row]  # fmt: skip
    if not np.isfinite(logged).any():
        return None
    with drawing(3.0 + 0.2 * len(models)) as (figure, axes):
        for number, seeds in enumerate(models.values()):
            for part, style in _PARTS.items():
                _curves(axes, seeds, f"{part}/{quantity}", SERIES[number], style)
        axes.set_ylabel(quantity)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        axes.grid(axis="y")
        if quantity == "loss" and min(logged) > 0 and max(logged) > 20 * min(logged):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        keys = [Line2D([], [], color=SERIES[i], label=shorten(m, 40)) for i, m in enumerate(models) if len(models) > 1]
        color = SERIES[0] if len(models) == 1 else MUTED
        words = {"train": "training", "val": "validation"}
        keys += [Line2D([], [], color=color, linestyle=style, label=words[part]) for part, style in _PARTS.items()]
        figure.legend(handles=keys, loc="outside lower left", ncols=1 if len(models) > 1 else 2)
    return Plot(name, f"{quantity.capitalize()} per epoch", _describe(quantity, models), figure)


def _curves(axes: Axes, seeds: Sequence[History], key: str, color: str, style: _Style) -> None:
    courses = [_course(history, key) for history in seeds]
    if len(courses) > 1:
        for course in courses:
            axes.plot(list(course), list(course.values()), color=color, linestyle=style, linewidth=0.8, alpha=_FAINT)
    mean = mean_course(courses)
    marker = "." if len(mean) <= _FEW_EPOCHS else ""
    axes.plot(list(mean), list(mean.values()), color=color, linestyle=style, linewidth=1.6, marker=marker)


def _course(history: History, key: str) -> dict[float, float]:
    """Values by epoch, counted from 1."""
    return {row.get("epoch", number) + 1: row[key] for number, row in enumerate(history) if key in row}


def mean_course(courses: Sequence[Mapping[float, float]]) -> dict[float, float]:
    """Mean over the seeds, in epochs that all of them reached: where one has stopped early, the mean would jump."""
    logged = [course for course in courses if course]
    common = sorted(set.intersection(*(set(course) for course in logged))) if logged else []
    return {epoch: float(np.mean([course[epoch] for course in logged])) for epoch in common}


def _describe(quantity: str, models: Mapping[str, Sequence[History]]) -> str:
    """The last value of training and validation of each model, averaged over its seeds."""
    words = []
    for model, seeds in models.items():
        last = {
            part: [values[-1] for history in seeds if (values := [r[key] for r in history if key in r])]
            for part, key in ((part, f"{part}/{quantity}") for part in _PARTS)
        }
        ends = ", ".join(f"{part} {np.mean(values):.3f}" for part, values in last.items() if values)
        epochs = max((len(history) for history in seeds), default=0)
        words.append(f"{model} after {epochs} epochs: {ends or 'not logged'}")
    return "; ".join(words)

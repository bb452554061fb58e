"""Scores per class, side by side."""

from collections.abc import Mapping, Sequence

import numpy as np

from unet_exp.reporting.plots.canvas import INK, SERIES, Plot, drawing, shorten

Estimate = tuple[float, float, float]
"""Value, lower and upper end of its interval; NaN where there is none."""


def class_bars(name: str, classes: Sequence[str], models: Mapping[str, Sequence[Estimate]], *, score: str) -> Plot:
    """Draw a group of bars per class, one bar per model.

    Args:
        name: Of the file.
        classes: Names of the classes.
        models: Estimates by model, in the order of the classes; at most `DRAWN` models.
        score: What the bars are, for example `Dice`.
    """
    thickness = 0.8 / len(models)
    with drawing(1.0 + len(classes) * max(0.42, 0.2 * len(models)) + 0.22 * len(models)) as (figure, axes):
        for number, (model, estimates) in enumerate(models.items()):
            values, low, high = np.array(estimates, float).T
            places = np.arange(len(classes)) + (number - (len(models) - 1) / 2) * thickness
            axes.barh(places, np.nan_to_num(values), thickness * 0.88, color=SERIES[number], label=shorten(model, 40))
            axes.hlines(places, low, high, color=INK, linewidth=1.2)
        axes.set_yticks(range(len(classes)), [shorten(c, 22) for c in classes], color=INK)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(classes) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.grid(axis="x")
        axes.set_xlabel(f"{score}, with its interval")
        if len(models) > 1:
            figure.legend(loc="outside upper left", ncols=1)
    lines = "; ".join(
        f"{model}: " + ", ".join(f"{c} {value:.3f}" for c, (value, _, _) in zip(classes, estimates, strict=True))
        for model, estimates in models.items()
    )
    return Plot(name, f"{score} per class", lines, figure)

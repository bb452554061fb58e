"""Quality against compute, with the Pareto front."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from unet_exp.reporting.plots.canvas import BETTER, INK, MARKERS, MUTED, SERIES, Plot, drawing, shorten

_WIDE = 5
"""Costs that differ by more than this factor get a logarithmic axis."""


@dataclass(frozen=True)
class Cost:
    """A model: its `name`, `cost`, score (`value`) and the ends of its interval, NaN where there is none."""

    name: str
    cost: float
    value: float
    low: float
    high: float


def pareto_front(models: Sequence[Cost]) -> list[Cost]:
    """Models that no other beats: cheaper ones are worse and better ones are dearer. Ordered by cost."""
    front: list[Cost] = []
    for model in sorted(models, key=lambda m: (m.cost, -m.value)):
        if not front or model.value > front[-1].value:
            front.append(model)
    return front


def _scale_logarithmically(axes: Axes) -> None:
    axes.set_xscale("log")
    # Plain numbers: the usual powers of ten are typeset as mathematics, which names must not be.
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def tradeoff_plot(name: str, models: Sequence[Cost], *, cost: str, score: str, order: Sequence[str]) -> Plot:
    """Draw score over cost, and join the models on the Pareto front.

    Args:
        name: Of the file.
        models: At least one, the best first.
        cost: What the cost is, with its unit.
        score: What the score is.
        order: Names of the models that have a colour and a name, the colours in this order; others are grey dots.
    """
    front = pareto_front(models)
    with drawing(3.0 + 0.2 * min(len(order), len(models))) as (figure, axes):
        axes.plot([m.cost for m in front], [m.value for m in front], color=BETTER, linewidth=1, linestyle=(0, (4, 3)))
        for model in reversed(models):
            known = model.name in order
            number = order.index(model.name) if known else -1
            color = SERIES[number] if known else MUTED
            axes.vlines(model.cost, model.low, model.high, color=color, linewidth=1.4 if known else 0.7)
            axes.plot(
                model.cost, model.value, marker=MARKERS[number] if known else ".", color=color, linestyle="",
                markersize=7 if known else 4, label=shorten(model.name, 40) if known else None,
            )  # fmt: skip
        if max(m.cost for m in models) > _WIDE * min(m.cost for m in models):
            _scale_logarithmically(axes)
        axes.margins(x=0.12)
        axes.grid(axis="y")
        axes.set_xlabel(cost)
        axes.set_ylabel(score, color=INK)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside lower left")
    named = ", ".join(f"{m.name} ({m.cost:.3g}, {m.value:.3f})" for m in front)
    text = f"{score} against {cost}. On the Pareto front, where nothing cheaper is as good: {named}"
    return Plot(name, f"{score} against {cost}", text, figure)

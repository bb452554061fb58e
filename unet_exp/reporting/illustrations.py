"""The figures of one section."""

import math
from collections.abc import Iterator, Sequence

from unet_exp.reporting.comparison import Standing
from unet_exp.reporting.measures import reliability_bins
from unet_exp.reporting.plots.bars import class_bars
from unet_exp.reporting.plots.calibration import reliability_diagram
from unet_exp.reporting.plots.canvas import DRAWN, Plot
from unet_exp.reporting.plots.curves import training_curves
from unet_exp.reporting.plots.forest import Difference, forest_plot
from unet_exp.reporting.plots.tradeoff import Cost, tradeoff_plot
from unet_exp.reporting.sections import Section
from unet_exp.reporting.settings import ReportSettings

SCORE_NAMES = {"dice": "Dice", "iou": "IoU"}
_FOREST_LINES = 30
"""More pairs are in the table only: a figure of 200 lines says nothing."""


def illustrate(section: Section, settings: ReportSettings, prefix: str) -> dict[str, list[Plot]]:
    """Every figure that the section's data allows, by topic.

    Args:
        section: What to draw.
        settings: What was compared.
        prefix: Start of the figures' file names.
    """
    score = SCORE_NAMES[settings.score]
    drawn = section.result.standings[:DRAWN]
    return {
        "pairs": list(_forest(section, score, settings.level, f"{prefix}-differences")),
        "classes": list(_bars(drawn, score, f"{prefix}-classes")),
        "curves": list(_curves(drawn, prefix)) if not section.place.label else [],
        "tradeoff": list(_tradeoff(section.result.standings, score, f"{prefix}-compute")),
        "calibration": list(_calibration(drawn, f"{prefix}-calibration")),
    }


def _forest(section: Section, score: str, level: float, name: str) -> Iterator[Plot]:
    lines = [
        Difference(
            f"{pair.first} vs {pair.second}",
            pair.comparison.difference,
            pair.comparison.interval.low,
            pair.comparison.interval.high,
            pair.verdict.answer,
        )
        for pair in section.result.pairs[:_FOREST_LINES]
    ]
    if lines:
        yield forest_plot(name, lines, score=score, level=level)


def _bars(standings: Sequence[Standing], score: str, name: str) -> Iterator[Plot]:
    known = {
        s.entry.name: [(found.value, found.low, found.high) for found in s.classes.values()]
        for s in standings
        if s.classes
    }
    if known:
        classes = next(list(s.classes) for s in standings if s.classes)
        yield class_bars(name, classes, known, score=score)


def _curves(standings: Sequence[Standing], prefix: str) -> Iterator[Plot]:
    histories = {s.entry.name: [run.history for run in s.entry.model.runs] for s in standings}
    for quantity in ("accuracy", "loss", "dice"):
        plot = training_curves(f"{prefix}-{quantity}", quantity, histories)
        if plot is not None:
            yield plot


def _tradeoff(standings: Sequence[Standing], score: str, name: str) -> Iterator[Plot]:
    models = [
        Cost(
            s.entry.name,
            s.entry.mean("gmacs"),
            s.value,
            s.interval.low if s.interval else math.nan,
            s.interval.high if s.interval else math.nan,
        )
        for s in standings
    ]
    known = [m for m in models if math.isfinite(m.cost) and m.cost > 0 and math.isfinite(m.value)]
    if len(known) > 1:
        yield tradeoff_plot(name, known, cost="GMACs per image", score=score, order=[m.name for m in models[:DRAWN]])


def _calibration(standings: Sequence[Standing], name: str) -> Iterator[Plot]:
    known = {s.entry.name: bins for s in standings if (bins := reliability_bins(s.entry))}
    if known:
        yield reliability_diagram(name, known, order=[s.entry.name for s in standings])

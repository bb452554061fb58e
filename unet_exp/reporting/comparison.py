"""Models on the same images: ranked with intervals, and compared in pairs."""

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from unet_exp.errors import counted
from unet_exp.reporting.evaluations import Evaluation
from unet_exp.reporting.models import Model
from unet_exp.reporting.runs import Run
from unet_exp.reporting.settings import ReportSettings
from unet_exp.statistics.bootstrap import Interval
from unet_exp.statistics.counts import CaseCounts
from unet_exp.statistics.paired import Comparison, Verdict, compare, verdicts
from unet_exp.statistics.ranking import leaderboard

COSTS = ("parameters", "gmacs", "train_seconds", "images_per_second", "peak_memory_mb")


@dataclass(frozen=True)
class Entry:
    """One model as it was scored in one section.

    Args:
        model: Its runs.
        evaluations: One per seed: of the only run of that seed, or pooled from the runs of its folds.
        remark: Why it cannot be compared with other models, empty if it can.
    """

    model: Model
    evaluations: Sequence[Evaluation]
    remark: str = ""

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.model.name

    @property
    def counts(self) -> list[CaseCounts]:
        """Pixel counts of the runs that have them."""
        return [evaluation.counts for evaluation in self.evaluations if evaluation.counts is not None]

    @property
    def scored_runs(self) -> list[tuple[Run, Evaluation]]:
        """Every run with its own evaluation."""
        single = [one for evaluation in self.evaluations for one in evaluation.folds or [evaluation]]
        return list(zip(self.model.runs, single, strict=True))

    @property
    def repeats(self) -> str:
        """How often it was trained, in words: `3 seeds`, `5 folds × 3 seeds`."""
        seeds = counted(len(self.evaluations), "seed")
        folds = {len(evaluation.folds) for evaluation in self.evaluations}
        return seeds if folds == {0} else f"{counted(max(folds), 'fold')} \N{MULTIPLICATION SIGN} {seeds}"

    def mean(self, name: str) -> float:
        """Mean over the seeds of a recorded number, NaN where there is none."""
        values = [value for e in self.evaluations if (value := e.number(name)) is not None]
        return float(np.mean(values)) if values else math.nan


@dataclass(frozen=True)
class Standing:
    """One line of the leaderboard.

    Args:
        entry: The model.
        value: Mean over the seeds of what the models are ranked by.
        sd: Standard deviation over the seeds, NaN for a single one.
        interval: Of the value, None where the run holds no pixel counts.
        classes: The same score of each scored class, with its interval.
        remark: Why it is not compared with the others; empty if it is.
    """

    entry: Entry
    value: float
    sd: float
    interval: Interval | None
    classes: Mapping[str, Interval] = field(default_factory=dict)
    remark: str = ""


@dataclass(frozen=True)
class Pair:
    """Two models, the difference between them, and the answer after correction for the number of pairs."""

    first: str
    second: str
    comparison: Comparison
    verdict: Verdict


@dataclass(frozen=True)
class Result:
    """What the statistics say of one section.

    Args:
        standings: The best first; models that cannot be compared come last.
        pairs: In the order of the standings.
        reference: The model that all others were compared with, empty if every pair was compared.
        chosen_by_score: Whether the reference was chosen because it leads on this very data.
    """

    standings: Sequence[Standing]
    pairs: Sequence[Pair]
    reference: str = ""
    chosen_by_score: bool = False


def compare_models(entries: Sequence[Entry], settings: ReportSettings) -> Result:
    """Rank the models of one section and compare them in pairs.

    Only runs that were scored on the same images with the same annotation take part; the others are shown with the
    reason.

    Args:
        entries: The models.
        settings: What the models are compared by.
    """
    comparable = _comparable(entries)
    runs = {entry.name: entry.counts for entry in comparable}
    rest = [_without_counts(entry, settings) for entry in entries if entry not in comparable]
    if not runs:
        return Result(sorted(rest, key=lambda s: -np.nan_to_num(s.value)), [])
    view = "global" if comparable[0].evaluations[0].is_global else "image"
    statistic = f"{view}_{settings.score}"
    options = {"draws": settings.draws, "seed": settings.seed}
    rows = leaderboard(runs, statistic, level=settings.level, **options)
    classes = _per_class(runs, statistic, settings)
    by_name = {entry.name: entry for entry in comparable}
    standings = [Standing(by_name[r.model], r.mean, r.sd, r.interval, classes[r.model]) for r in rows]
    order = [row.model for row in rows]
    names, reference = _pairs(order, settings)
    compared = [compare(runs[a], runs[b], statistic, level=settings.level, **options) for a, b in names]
    answers = verdicts(compared, 1 - settings.level) if compared else []
    pairs = [Pair(a, b, c, v) for (a, b), c, v in zip(names, compared, answers, strict=True)]
    return Result([*standings, *rest], pairs, reference, bool(reference) and reference != settings.baseline)


def _comparable(entries: Sequence[Entry]) -> list[Entry]:
    """The largest set of models that were all scored on the same images with the same annotation."""
    groups: dict[object, list[Entry]] = defaultdict(list)
    for entry in entries:
        truths = {_truth(counts) for counts in entry.counts}
        if not entry.remark and len(truths) == 1 and len(entry.counts) == len(entry.evaluations):
            groups[truths.pop()].append(entry)
    return max(groups.values(), key=len, default=[])


def _truth(counts: CaseCounts) -> object:
    """Equal for runs that were scored on the same images, classes and labelled pixels."""
    arrays = (counts.ids, counts.clusters, counts.truth, counts.labelled)
    return counts.class_names, counts.scored, tuple(array.tobytes() for array in arrays)


def _without_counts(entry: Entry, settings: ReportSettings) -> Standing:
    values = [value for e in entry.evaluations if (value := e.number(settings.score)) is not None]
    missing = len(entry.counts) < len(entry.evaluations)
    remark = entry.remark or (
        "no pixel counts in per_image.csv: score it again with unet_exp.evaluate"
        if missing
        else "scored on other images, or on another annotation or resolution"
    )
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Standing(entry, float(np.mean(values)) if values else math.nan, sd, None, remark=remark)


def _per_class(
    runs: Mapping[str, Sequence[CaseCounts]], statistic: str, settings: ReportSettings
) -> dict[str, dict[str, Interval]]:
    """The score of each scored class of each model."""
    first = next(iter(runs.values()))[0]
    found: dict[str, dict[str, Interval]] = {model: {} for model in runs}
    for name in (first.class_names[i] for i in first.scored):
        options = {"draws": settings.draws, "seed": settings.seed}
        for row in leaderboard(runs, f"{statistic}_{name}", level=settings.level, **options):
            found[row.model][name] = row.interval
    return found


def _pairs(order: Sequence[str], settings: ReportSettings) -> tuple[list[tuple[str, str]], str]:
    """Which pairs are asked about: all while they are few, else every model with one reference."""
    baseline = settings.baseline if settings.baseline in order else None
    if baseline is None and len(order) <= settings.all_pairs:
        return list(itertools.combinations(order, 2)), ""
    reference = baseline or order[0]
    return [(name, reference) for name in order if name != reference], reference

"""Cross-validation: the held-out parts of all folds of one model and seed are one evaluation.

Every case is then predicted once, by the network that has not seen it, and all statistics are over all cases at once:
a global confusion matrix adds up the folds, a mean over images is over the images of all folds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import groupby
from typing import Any

import numpy as np

from unet_exp.errors import DataError
from unet_exp.reporting.comparison import COSTS, Entry
from unet_exp.reporting.cross_validation import Scored, fold_problem
from unet_exp.reporting.evaluations import Evaluation
from unet_exp.reporting.measures import added_bins, calibration_number
from unet_exp.reporting.models import Model
from unet_exp.statistics.counts import CaseCounts
from unet_exp.statistics.score import statistic, statistic_names

_COUNTED = ("absent", "missed")


def pooled_entry(model: Model, scored: Sequence[Scored]) -> tuple[Entry, dict[int, str]]:
    """A model with one evaluation per seed, pooled from its folds.

    Args:
        model: The model.
        scored: Its runs in their order, and what they were scored on the part that they held out.

    Returns:
        The entry, and by seed why it is left out of it. A model without any complete seed is an entry all the same,
        with a remark: it is shown, and not compared.
    """
    seeds = {seed: list(group) for seed, group in groupby(scored, key=lambda item: item[0].seed)}
    problems = {seed: problem for seed, group in seeds.items() if (problem := fold_problem(group))}
    remark = ""
    if len(problems) == len(seeds):
        details = "; ".join(f"seed {seed}: {problem}" for seed, problem in problems.items())
        remark, problems = f"no complete cross-validation ({details})", {}
    used = [group for seed, group in seeds.items() if seed not in problems]
    runs = [run for group in used for run, _ in group]
    evaluations = [pool_folds([evaluation for _, evaluation in group]) for group in used]
    return Entry(replace(model, runs=runs), evaluations, remark), problems


def pool_folds(evaluations: Sequence[Evaluation]) -> Evaluation:
    """One evaluation over the cases of all folds.

    Scores and counts are over all cases; costs are those of one network, averaged over the folds.

    Args:
        evaluations: Of the held-out part of each fold, in the order of the folds.
    """
    first = evaluations[0]
    counts = _pooled_counts([e.counts for e in evaluations])
    scores = _mean_scores(evaluations) if counts is None else _scores(counts, is_global=first.is_global)
    costs = {name: found for name in COSTS if (found := _mean(evaluations, name)) is not None}
    return replace(
        first,
        scores={
            **scores,
            **_failures(evaluations),
            "calibration": _calibration(evaluations),
            "bootstrap": _bootstrap(evaluations),
        },
        context={"conventions": first.context.get("conventions"), **costs},
        counts=counts,
        trained_on=sum(evaluation.trained_on for evaluation in evaluations),
        folds=tuple(evaluations),
    )


def _pooled_counts(parts: Sequence[CaseCounts | None]) -> CaseCounts | None:
    """The cases of all parts; None if a part has none, or one case is in two of them."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    joined = {
        field.name: np.concatenate([getattr(part, field.name) for part in known])
        for field in fields(CaseCounts)
        if field.name not in ("class_names", "scored")
    }
    try:
        return CaseCounts(**joined, class_names=known[0].class_names, scored=known[0].scored)
    except DataError:
        return None


def _scores(counts: CaseCounts, *, is_global: bool) -> dict[str, float]:
    """Every named statistic; names without prefix are those of the headline, as in metrics.json."""
    scores = {name: statistic(counts, name) for name in statistic_names(counts)}
    prefix = "global_" if is_global else "image_"
    return scores | {name.removeprefix(prefix): value for name, value in scores.items() if name.startswith(prefix)}


def _mean_scores(evaluations: Sequence[Evaluation]) -> dict[str, float]:
    """Without counts there is no pooling: means over the folds, which are shown but never compared."""
    found = {name: _mean(evaluations, name) for name in ("dice", "iou", "accuracy")}
    return {name: value for name, value in found.items() if value is not None}


def _mean(evaluations: Sequence[Evaluation], name: str) -> float | None:
    values = [value for evaluation in evaluations if (value := evaluation.number(name)) is not None]
    return float(np.mean(values)) if values else None


def _bootstrap(evaluations: Sequence[Evaluation]) -> Mapping[str, Any]:
    """The unit of resampling: a fold in which no patient has two images names the image, which is the same there."""
    return {"cluster_by": next((e.cluster for e in evaluations if e.cluster != "image"), "image")}


def _failures(evaluations: Sequence[Evaluation]) -> dict[str, dict[str, float]]:
    """Images without a class, and those in which it was missed, added up; left out where a fold has no such count."""
    found = {}
    for name in _COUNTED:
        tables = [evaluation.scores.get(name) for evaluation in evaluations]
        known = [table for table in tables if isinstance(table, Mapping)]
        if len(known) == len(tables):
            found[name] = {key: sum(table.get(key, 0) for table in known) for key in known[0]}
    return found


def _calibration(evaluations: Sequence[Evaluation]) -> dict[str, float]:
    """ECE from the bins of all folds added up, and the mean squared error of all their pixels."""
    pixels = np.array([sum(count for count, _, _ in added_bins([e])) for e in evaluations])
    briers = [calibration_number(evaluation, "brier") for evaluation in evaluations]
    if not pixels.all():
        return {}
    errors = sum(count * abs(confidence - accuracy) for count, confidence, accuracy in added_bins(evaluations))
    return {"ece": float(errors / pixels.sum()), "brier": float(np.average(briers, weights=pixels))}

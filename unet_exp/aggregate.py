"""From the cases of one part to what metrics.json says of it: intervals, counts of failures, calibration."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unet_exp.calibration import (
    THRESHOLDS,
    calibration_statistics,
    calibration_summary,
    threshold_statistics,
    threshold_table,
)
from unet_exp.data._case import Case
from unet_exp.data._source import ImageSource
from unet_exp.evaluation_settings import ClusterChoice, EvaluationSettings
from unet_exp.observation import Details
from unet_exp.per_image import structure_suffixes
from unet_exp.statistics.bootstrap import Interval as ConfidenceInterval
from unet_exp.statistics.bootstrap import bootstrap_tables, by_cluster
from unet_exp.statistics.counts import CaseCounts, Cluster
from unet_exp.statistics.score import Ratios, Score, statistic_names

_THRESHOLD = "threshold "
"""Begins the names of the scores at a threshold, which have a table of their own."""


def cluster_column(cases: Sequence[Case], wanted: ClusterChoice) -> Cluster:
    """Which column of per_image.csv names what is resampled."""
    if wanted != "auto":
        return wanted
    patients = [case.patient for case in cases if case.patient]
    return "patient" if len(set(patients)) < len(patients) else "image"


def describe_part(
    cases: Sequence[Case],
    matrices: Tensor,
    details: Details | None,
    source: ImageSource,
    settings: EvaluationSettings,
) -> dict[str, Any]:
    """What metrics.json says of a part beside its scores.

    Args:
        cases: The N cases that were scored.
        matrices: One confusion matrix per case, (N, K, K) int64.
        details: What else was measured of them.
        source: The dataset.
        settings: How the scores are summarised.
    """
    described: dict[str, Any] = {"confusion": matrices.sum(0).tolist(), **count_failures(matrices, source)}
    if details is not None:
        described["calibration"] = calibration_summary(details.calibration, details.layout)
        described["thresholds"] = threshold_table(details.calibration, details.layout)
    if not cases:
        return described
    column = cluster_column(cases, settings.cluster_by)
    clusters = np.array([str({"patient": c.patient, "institution": c.institution}.get(column) or c.id) for c in cases])
    counts = CaseCounts.from_confusion_matrices(
        matrices.numpy(),
        [case.id for case in cases],
        class_names=source.class_names,
        scored=source.scored_classes,
        clusters=clusters.tolist(),
    )
    tables = {name: by_cluster(counts, name) for name in statistic_names(counts)}
    measured = _measured(details, source) if details is not None else {}
    names, groups = np.unique(clusters, return_inverse=True)
    tables |= {name: table.sum_by(groups, len(names)) for name, table in measured.items()}
    intervals = bootstrap_tables(
        tables, draws=settings.draws, seed=settings.seed, level=settings.level, method=settings.method
    )
    described |= {name: intervals[name].value for name in measured if name.startswith("image_")}
    of_thresholds = {name: intervals.pop(name) for name in list(intervals) if name.startswith(_THRESHOLD)}
    if of_thresholds:
        described["threshold_intervals"] = _threshold_rows(of_thresholds)
    intervals = with_headline(intervals, source.headline)
    return {**described, **_describe_intervals(intervals, column, len(names), settings)}


def _measured(details: Details, source: ImageSource) -> dict[str, Ratios]:
    """Every aggregate that does not follow from the confusion matrices, one row per case."""
    tables = calibration_statistics(details.calibration, details.layout)
    for threshold, row in zip(THRESHOLDS, threshold_statistics(details.calibration, details.layout), strict=False):
        tables |= {f"{_THRESHOLD}{threshold} {name}": table for name, table in row.items()}
    if details.boundary is not None:
        tables |= boundary_statistics(details.boundary.numpy(), structure_suffixes(source))
    return tables


def _threshold_rows(intervals: Mapping[str, ConfidenceInterval]) -> list[dict[str, Any]]:
    """Intervals of the table of thresholds, in its form."""
    rows: dict[str, dict[str, Any]] = {}
    for key, interval in intervals.items():
        threshold, name = key.removeprefix(_THRESHOLD).split()
        rows.setdefault(threshold, {"threshold": float(threshold)})[name] = [interval.low, interval.high]
    return list(rows.values())


def count_failures(matrices: Tensor, source: ImageSource) -> dict[str, dict[str, int]]:
    """Images in which each scored class is absent from truth and prediction, missed, or nothing but a false alarm.

    Args:
        matrices: (N, K, K); images without a labelled pixel are not counted.
        source: The dataset.
    """
    labelled = matrices[matrices.sum((-2, -1)) > 0]
    in_truth, in_prediction = labelled.sum(-1) > 0, labelled.sum(-2) > 0
    found = {
        "absent": ~in_truth & ~in_prediction,
        "missed": in_truth & ~in_prediction,
        "false_alarm": ~in_truth & in_prediction,
    }
    return {
        kind: {source.class_names[index]: int(which[:, index].sum()) for index in source.scored_classes}
        for kind, which in found.items()
    }


def with_headline(
    intervals: Mapping[str, ConfidenceInterval], headline: Literal["global", "per_image"]
) -> dict[str, ConfidenceInterval]:
    """Those of the headline without a prefix too, as `unet_exp.metric.summary` names scores."""
    prefix = "global_" if headline == "global" else "image_"
    known = {f"{prefix}{score}" for score in get_args(Score)}
    without = {
        name.removeprefix(prefix): interval
        for name, interval in intervals.items()
        if name in known or name.startswith((f"{prefix}dice_", f"{prefix}iou_"))
    }
    return {**without, **intervals}


def boundary_statistics(boundary: NDArray[np.float64], suffixes: Sequence[str]) -> dict[str, Ratios]:
    """Mean HD95 and surface Dice over the cases that have them, in the form that the bootstrap resamples.

    Args:
        boundary: (N, S, 2), NaN where there is none.
        suffixes: Ends of the names of the S structures.
    """
    known = (~np.isnan(boundary)).astype(np.float64)
    values = np.nan_to_num(boundary)
    return {
        f"image_{score}{suffix}": Ratios(values[:, [s], i], known[:, [s], i])
        for s, suffix in enumerate(suffixes)
        for i, score in enumerate(("hd95", "surface_dice"))
    }


def _describe_intervals(
    intervals: Mapping[str, ConfidenceInterval], column: Cluster, clusters: int, settings: EvaluationSettings
) -> dict[str, Any]:
    warnings = dict.fromkeys(warning for interval in intervals.values() for warning in interval.warnings)
    return {
        "intervals": {name: [interval.low, interval.high] for name, interval in intervals.items()},
        "bootstrap": {
            "draws": settings.draws,
            "level": settings.level,
            "method": settings.method,
            "seed": settings.seed,
            "clusters": clusters,
            "cluster_by": column,
            "warnings": list(warnings),
        },
    }

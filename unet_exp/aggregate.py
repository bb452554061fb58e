"""From the cases of one part to what metrics.json says of it: intervals, counts of failures, calibration."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unet_exp.calibration import calibration_summary, threshold_table
from unet_exp.data._case import Case
from unet_exp.data._source import ImageSource
from unet_exp.evaluation_settings import ClusterChoice, EvaluationSettings
from unet_exp.observation import Details
from unet_exp.statistics.bootstrap import Interval as ConfidenceInterval
from unet_exp.statistics.bootstrap import bootstrap, percentile_interval, replicate
from unet_exp.statistics.counts import CaseCounts, Cluster
from unet_exp.statistics.score import Ratios, statistic_names


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
    clusters = [str({"patient": c.patient, "institution": c.institution}.get(column) or c.id) for c in cases]
    counts = CaseCounts.from_confusion_matrices(
        matrices.numpy(),
        [case.id for case in cases],
        class_names=source.class_names,
        scored=source.scored_classes,
        clusters=clusters,
    )
    intervals = score_intervals(counts, source.headline, settings)
    if details is not None and details.boundary is not None:
        means = boundary_intervals(details.boundary.numpy(), clusters, settings)
        described |= {name: interval.value for name, interval in means.items()}
        intervals |= means
    return {**described, **_describe_intervals(intervals, column, len(set(clusters)), settings)}


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


def score_intervals(
    counts: CaseCounts, headline: Literal["global", "per_image"], settings: EvaluationSettings
) -> dict[str, ConfidenceInterval]:
    """Intervals of every score that `unet_exp.metric.summary` names; the headline's come without a prefix too."""
    names = statistic_names(counts)
    intervals = bootstrap(
        counts, names, draws=settings.draws, seed=settings.seed, level=settings.level, method=settings.method
    )
    prefix = "global_" if headline == "global" else "image_"
    without = {name.removeprefix(prefix): intervals[name] for name in names if name.startswith(prefix)}
    return {**without, **intervals}


def boundary_intervals(
    boundary: NDArray[np.float64], clusters: Sequence[str], settings: EvaluationSettings
) -> dict[str, ConfidenceInterval]:
    """Mean HD95 and surface Dice over the images that have them, with percentile intervals.

    Args:
        boundary: (N, 2).
        clusters: What each image belongs to, N names.
        settings: How the scores are summarised.
    """
    names, groups = np.unique(np.array(clusters), return_inverse=True)
    known = (~np.isnan(boundary)).astype(np.float64)
    summed = Ratios(np.nan_to_num(boundary), known).sum_by(groups, len(names))
    tables = [Ratios(summed.numerators[:, [i]], summed.denominators[:, [i]]) for i in range(2)]
    values = replicate(tables, draws=settings.draws, seed=settings.seed)
    return {
        name: percentile_interval(table.value(), row, [table], level=settings.level)
        for name, table, row in zip(("image_hd95", "image_surface_dice"), tables, values, strict=True)
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

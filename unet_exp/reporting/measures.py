"""What metrics.json holds beside scores: confusion matrices, calibration, thresholds; over the seeds of a model."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unet_exp.reporting.comparison import Entry
from unet_exp.reporting.evaluations import Evaluation
from unet_exp.reporting.plots.calibration import Bins


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix: class `names`, pixel `counts` (K, K) with the truth in rows, and their `shares` of a row.

    The share is NaN in the row of a class without pixels.
    """

    names: Sequence[str]
    counts: Sequence[Sequence[int]]
    shares: Sequence[Sequence[float]]


def confusion(entry: Entry) -> Confusion | None:
    """The matrices of all runs added up, None where a run holds none."""
    matrices = [_matrix(evaluation.scores.get("confusion")) for _, evaluation in entry.scored_runs]
    names = entry.evaluations[0].class_names
    known = [matrix for matrix in matrices if matrix is not None and matrix.shape == (len(names), len(names))]
    if len(known) < len(matrices):
        return None
    counts = np.sum(known, axis=0)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, math.nan), where=totals > 0)
    return Confusion(names, counts.astype(int).tolist(), shares.tolist())


def _matrix(value: Any) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    try:
        matrix = np.array(value, np.float64)
    except (TypeError, ValueError):
        return None
    return matrix if matrix.ndim == 2 and np.isfinite(matrix).all() else None


def reliability_bins(entry: Entry) -> Bins:
    """The bins of all runs added up: pixels, mean confidence, accuracy; empty where none were recorded."""
    return added_bins([evaluation for _, evaluation in entry.scored_runs])


def added_bins(evaluations: Sequence[Evaluation]) -> Bins:
    """The bins of evaluations added up: pixels, mean confidence, accuracy; empty where none were recorded."""
    pixels: Counter[float] = Counter()
    confidence: Counter[float] = Counter()
    right: Counter[float] = Counter()
    for evaluation in evaluations:
        for one in _rows(_mapping(evaluation.scores.get("calibration")).get("bins")):
            count = _number(one, "count")
            if count > 0:
                low = _number(one, "low")
                pixels[low] += count  # type: ignore[assignment]
                confidence[low] += count * _number(one, "confidence")  # type: ignore[assignment]
                right[low] += count * _number(one, "accuracy")  # type: ignore[assignment]
    return [(pixels[low], confidence[low] / pixels[low], right[low] / pixels[low]) for low in sorted(pixels)]


def calibration_error(entry: Entry, name: str) -> float:
    """Mean over the seeds of `ece` or `brier`, NaN where it was not recorded."""
    return float(np.mean([calibration_number(evaluation, name) for evaluation in entry.evaluations]))


def calibration_number(evaluation: Evaluation, name: str) -> float:
    """The `ece` or `brier` of one evaluation, NaN where it was not recorded."""
    return _number(_mapping(evaluation.scores.get("calibration")), name)


def threshold_rows(entry: Entry) -> list[dict[str, float]]:
    """The table of confidence thresholds of the first seed, empty where there is none."""
    rows = _rows(entry.evaluations[0].scores.get("thresholds"))
    return [{str(key): _number(row, key) for key in row} for row in rows]


def counted_by_class(entry: Entry, name: str) -> dict[str, float]:
    """`absent` or `missed` images by class, averaged over the seeds; empty where it was not recorded."""
    found = [_mapping(evaluation.scores.get(name)) for evaluation in entry.evaluations]
    return {str(key): float(np.mean([_number(one, key) for one in found])) for key in (found[0] if found else {})}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _rows(value: Any) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _number(row: Mapping[str, Any], key: str) -> float:
    value = row.get(key)
    return float(value) if isinstance(value, int | float) else math.nan

"""Whether a network's confidence can be trusted: ECE, Brier score, reliability bins, a table of thresholds.

Everything follows from counts and sums in fixed bins of confidence, one row of them per case, so that rows of all
cases and processes are simply added up. Pixels without a label are in no bin.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unet_exp.statistics.score import AbsoluteRatios, Ratios

BINS = 15
"""Of equal width on (0, 1], as in Guo et al. 2017, arXiv 1706.04599."""

THRESHOLDS = tuple(k / 20 for k in range(1, 20))
"""Foreground probabilities above which a pixel is called foreground."""

_CHUNK = 1 << 22
"""Pixels looked at at a time: their probabilities are float64."""

# K classes, P pixels, N cases.


@dataclass(frozen=True)
class CalibrationLayout:
    """What a row of calibration numbers consists of.

    Args:
        num_outputs: Channels of the logits; 1 for two classes told apart by one logit.
    """

    num_outputs: int

    @property
    def is_binary(self) -> bool:
        """Whether there is one foreground, whose probability can be thresholded."""
        return self.num_outputs <= 2

    @property
    def sizes(self) -> list[int]:
        """Pixels, right pixels and summed confidence of each bin, squared errors, foreground and other pixels."""
        return [BINS, BINS, BINS, 1, *([len(THRESHOLDS) + 1] * 2 if self.is_binary else [])]

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return sum(self.sizes)


def calibration_row(logits: Tensor, target: Tensor, *, ignore_index: int) -> Tensor:
    """Count the pixels of one image by confidence.

    Args:
        logits: (K, H, W), or (1, H, W) for two classes.
        target: Class ids or `ignore_index`, (H, W).
        ignore_index: Label of the pixels that do not count.

    Returns:
        (width,) float64 on the device of the logits, see `CalibrationLayout`; whole numbers stay exact.
    """
    layout = CalibrationLayout(len(logits))
    row = torch.zeros(layout.width, dtype=torch.float64, device=logits.device)
    columns = torch.split(logits.flatten(1), _CHUNK, dim=1)
    for part, true in zip(columns, torch.split(target.flatten(), _CHUNK), strict=True):
        valid = true != ignore_index
        row += _count(part[:, valid].double(), true[valid].long(), layout)
    return row


def _count(logits: Tensor, target: Tensor, layout: CalibrationLayout) -> Tensor:
    """One row for the logits (K, P) of labelled pixels and their classes (P,)."""
    if layout.num_outputs == 1:
        foreground = logits[0].sigmoid()
        probabilities = torch.stack([1 - foreground, foreground])
    else:
        probabilities = logits.softmax(0)
    confidence, prediction = probabilities.max(0)
    right = (prediction == target).long()
    bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    counts = torch.bincount(2 * bins + right, minlength=2 * BINS).view(BINS, 2).double()
    sums = confidence.new_zeros(BINS).index_add_(0, bins, confidence)
    errors = probabilities.square().sum() - (2 * _of_class(probabilities, target) - 1).sum()
    parts = [counts.sum(1), counts[:, 1], sums, errors[None]]
    if layout.is_binary:
        limits = torch.tensor(THRESHOLDS, dtype=torch.float64, device=logits.device)
        passed = torch.bucketize(probabilities[1], limits)  # how many thresholds lie below the probability
        size = len(THRESHOLDS) + 1
        both = torch.bincount(2 * passed + target, minlength=2 * size).view(size, 2).double()
        parts += [both[:, 1], both[:, 0]]
    return torch.cat(parts)


def _of_class(probabilities: Tensor, target: Tensor) -> Tensor:
    """Probability (P,) of the true class."""
    return probabilities.gather(0, target[None])[0]


def calibration_summary(rows: Tensor, layout: CalibrationLayout) -> dict[str, Any]:
    """ECE, Brier score and reliability bins of all labelled pixels; None for a number that no pixel gives.

    The Brier score is the squared error summed over the classes (0 to 2); for two classes, of the foreground alone
    (0 to 1), which is half of it.

    Args:
        rows: One row per case, (N, width).
        layout: What the rows consist of.
    """
    pixels, right, confidence, errors = _split(rows.sum(0), layout)[:4]
    total = pixels.sum()
    edges = np.linspace(0, 1, BINS + 1)
    bins = [
        {
            "low": float(edges[i]),
            "high": float(edges[i + 1]),
            "count": int(pixels[i]),
            "confidence": float(confidence[i] / pixels[i]) if pixels[i] else None,
            "accuracy": float(right[i] / pixels[i]) if pixels[i] else None,
        }
        for i in range(BINS)
    ]
    if not total:
        return {"ece": None, "brier": None, "bins": bins}
    scale = 2 if layout.is_binary else 1
    ece = float(np.abs(confidence - right).sum() / total)
    return {"ece": ece, "brier": float(errors[0] / total / scale), "bins": bins}


def calibration_statistics(rows: Tensor, layout: CalibrationLayout) -> dict[str, Ratios]:
    """`ece` and `brier` in the form that the bootstrap resamples, one row per case; see `calibration_summary`.

    Args:
        rows: One row per case, (N, width).
        layout: What the rows consist of.
    """
    pixels, right, confidence, errors = _split(rows, layout)[:4]
    total = pixels.sum(1, keepdims=True)
    scale = 2 if layout.is_binary else 1
    ece = AbsoluteRatios(confidence - right, np.repeat(total, BINS, axis=1))
    return {"ece": ece, "brier": Ratios(errors, scale * total)}


def threshold_statistics(rows: Tensor, layout: CalibrationLayout) -> list[dict[str, Ratios]]:
    """The scores of `threshold_table` in the form that the bootstrap resamples: one dict per threshold.

    Args:
        rows: One row per case, (N, width).
        layout: What the rows consist of; not binary gives an empty table.
    """
    if not layout.is_binary:
        return []
    parts = _split(rows, layout)
    labelled = (parts[0].sum(1) > 0).astype(np.float64)
    positive, negative = parts[4], parts[5]
    truth = positive.sum(1)
    table = []
    for number in range(1, len(THRESHOLDS) + 1):
        hits, alarms = positive[:, number:].sum(1), negative[:, number:].sum(1)
        per_image = _ratio(2 * hits, truth + hits + alarms, empty=1.0)
        terms = {
            "dice": (per_image * labelled, labelled),
            "global_dice": (2 * hits, truth + hits + alarms),
            "precision": (hits, hits + alarms),
            "recall": (hits, truth),
        }
        table.append({name: Ratios(top[:, None], bottom[:, None]) for name, (top, bottom) in terms.items()})
    return table


def threshold_table(rows: Tensor, layout: CalibrationLayout) -> list[dict[str, float]]:
    """Scores of a binary task at each threshold: per-image mean Dice (ISIC convention), and over all pixels.

    Args:
        rows: One row per case, (N, width).
        layout: What the rows consist of; not binary gives an empty table.
    """
    scores = threshold_statistics(rows, layout)
    return [
        {"threshold": threshold, **{name: table.value() for name, table in row.items()}}
        for threshold, row in zip(THRESHOLDS, scores, strict=layout.is_binary)
    ]


def _split(rows: Tensor, layout: CalibrationLayout) -> list[NDArray[np.float64]]:
    return [part.numpy() for part in torch.split(rows, layout.sizes, dim=-1)]


def _ratio(top: NDArray[np.float64], bottom: NDArray[np.float64], *, empty: float) -> NDArray[np.float64]:
    return np.asarray(np.divide(top, bottom, out=np.full_like(top, empty), where=bottom > 0))

"""Dividing groups of cases into shares that resemble each other in size and class content."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Groups = Sequence[Sequence[Sequence[int]]]
"""Per group, per case, the pixels of each class; an empty innermost sequence where they are not known."""


def divide(groups: Groups, shares: Sequence[float], *, seed: int) -> list[int]:
    """Give every group to one share, large groups first, always to where it brings all shares closest to their due.

    Greedy assignment as in scikit-learn's StratifiedGroupKFold, for shares of any size. Distance is chi-squared,
    the sum of squared deviations relative to what is due, over: pixels of each class, area fraction of each class
    (so that large images do not decide alone), number of cases.

    Args:
        groups: What must not be torn apart.
        shares: Fraction of everything that each share is due, summing to 1.
        seed: Decides between groups of about the same size.

    Returns:
        Index of the share of each group; no share is empty if there are enough groups.
    """
    features = _features(groups)
    order = _large_first(features, np.random.default_rng(seed))
    due = np.asarray(shares)[:, None]
    filled = np.zeros((len(shares), features.shape[1]))
    chosen = np.full(len(groups), -1)
    for group in order:
        # Only the change matters: (x + g - d)^2 - (x - d)^2 = g (g + 2 (x - d)).
        cost = (features[group] * (features[group] + 2 * (filled - due)) / due).sum(1)
        chosen[group] = int(np.argmin(cost))
        filled[chosen[group]] += features[group]
    _fill_empty(chosen, features, len(shares))
    return [int(share) for share in chosen]


def _features(groups: Groups) -> NDArray[np.float64]:
    """What each group adds, every column as a fraction of the whole data, (groups, columns)."""
    columns = max((len(case) for group in groups for case in group), default=0)
    rows = []
    for group in groups:
        pixels = np.array([case or [0] * columns for case in group], np.float64).reshape(len(group), columns)
        fractions = pixels / np.maximum(pixels.sum(1, keepdims=True), 1)
        rows.append(np.concatenate([pixels.sum(0), fractions.sum(0), [len(group)]]))
    features = np.stack(rows) if rows else np.zeros((0, 1))
    return np.asarray(features / np.maximum(features.sum(0), 1e-12), np.float64)


def _large_first(features: NDArray[np.float64], generator: np.random.Generator) -> list[int]:
    """Groups in falling order of size, rounded to powers of two and shuffled within."""
    size = np.log2(np.maximum(features.sum(1), 1e-12))
    shuffled = generator.permutation(len(features))
    return [int(group) for group in shuffled[np.argsort(-np.round(size[shuffled]), kind="stable")]]


def _fill_empty(chosen: NDArray[np.int64], features: NDArray[np.float64], shares: int) -> None:
    """Give an empty share the smallest group of the share that has most groups."""
    for share in range(shares):
        counts = np.bincount(chosen, minlength=shares)
        if not counts[share] and counts.max(initial=0) > 1:
            donors = np.flatnonzero(chosen == counts.argmax())
            chosen[donors[features[donors].sum(1).argmin()]] = share

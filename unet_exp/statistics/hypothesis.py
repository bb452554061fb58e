"""Tests of a paired difference, and the correction for asking several questions."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

from unet_exp.bounds import Probability
from unet_exp.statistics.score import Floats, Ratios, mean_of_ratios

_CHUNK = 1 << 22
"""Sign flips made at a time, to bound memory."""


def permutation_test(a: Ratios, b: Ratios, *, draws: int, rng: np.random.Generator) -> float:
    """Two-sided p-value of a difference between two models on the same clusters.

    If the models were interchangeable, so would be their counts in each cluster: the p-value is the share of swaps
    that give at least the difference observed. All 2^C swaps are tried if they are no more than `draws`; otherwise
    random ones, and the observed one counts too, so that p is never 0 (Phipson and Smyth 2010,
    doi 10.2202/1544-6115.1585).

    Args:
        a: One statistic of one model, a row per cluster.
        b: The same of the other model. Counts, not averages, keep the sums exact.
        draws: Number of random swaps.
        rng: Draws them.
    """
    clusters = len(a.numerators)
    exact = 2**clusters <= draws
    observed = abs(a.value() - b.value())
    extreme = total = 0
    for swaps in _all_swaps(clusters) if exact else _random_swaps(clusters, draws, rng):
        top = swaps @ (b.numerators - a.numerators)
        bottom = swaps @ (b.denominators - a.denominators)
        swapped_a = mean_of_ratios(a.numerators.sum(0) + top, a.denominators.sum(0) + bottom)
        swapped_b = mean_of_ratios(b.numerators.sum(0) - top, b.denominators.sum(0) - bottom)
        # The tolerance lets ties be ties although the sums were rounded differently.
        extreme += int((~(np.abs(swapped_a - swapped_b) < observed - 1e-12)).sum())
        total += len(swaps)
    return extreme / total if exact else (extreme + 1) / (total + 1)


def wilcoxon_test(differences: Floats) -> float:
    """Two-sided p-value of the signed-rank test of independent differences, (C,); zeros and NaN are left out."""
    counted = differences[~np.isnan(differences) & (differences != 0)]
    return float(stats.wilcoxon(counted).pvalue) if len(counted) else 1.0


def t_test(difference: float, standard_error: float, degrees_of_freedom: float) -> float:
    """Two-sided p-value of an estimate with an estimated standard error; 1 if that is NaN: nothing can be shown."""
    if np.isnan(standard_error):
        return 1.0
    if standard_error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * stats.t.sf(abs(difference) / standard_error, degrees_of_freedom))


def satterthwaite(variances: Sequence[float], degrees_of_freedom: Sequence[float]) -> float:
    """Degrees of freedom of a sum of independent variance estimates (Satterthwaite 1946, doi 10.2307/3002019)."""
    parts = sum(v**2 / df for v, df in zip(variances, degrees_of_freedom, strict=True))
    return sum(variances) ** 2 / parts if parts else np.inf


def smallest_detectable(
    standard_error: float, degrees_of_freedom: float, *, alpha: Probability = 0.05, power: Probability = 0.8
) -> float:
    """The smallest true difference that a two-sided test would show with the given power.

    It is (t[1 - alpha/2] + t[power]) standard errors (Bloom 1995, doi 10.1177/0193841X9501900504): 2.8 of them when
    there are many clusters and seeds, 3.7 with 4 degrees of freedom.
    """
    threshold, margin = (float(stats.t.ppf(p, degrees_of_freedom)) for p in (1 - alpha / 2, power))
    return (threshold + margin) * standard_error


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for the size of their family by Holm's step-down method (Holm 1979), in the given order.

    Raises:
        ValueError: If one is not a probability.
    """
    values = np.asarray(p_values, np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"Expected `p_values` from 0 to 1, but got {list(p_values)}.")
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * values[order]))
    return [float(value) for value in adjusted]


def _all_swaps(clusters: int) -> Iterator[Floats]:
    numbers = np.arange(2**clusters)[:, None]
    yield (numbers >> np.arange(clusters) & 1).astype(np.float64)


def _random_swaps(clusters: int, draws: int, rng: np.random.Generator) -> Iterator[Floats]:
    step = max(1, _CHUNK // clusters)
    for start in range(0, draws, step):
        yield rng.integers(2, size=(min(step, draws - start), clusters)).astype(np.float64)

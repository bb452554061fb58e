"""Confidence intervals by resampling whole clusters of cases.

Images of one patient, or one institution, resemble each other; an interval that treats them as independent is too
narrow. So clusters are drawn with replacement, with all their images (Davison and Hinkley 1997, section 3.8). One draw
is a vector of how often each cluster came, and all draws of all statistics are one product of that matrix with the
counts summed by cluster: 10,000 draws take 0.02 s for 45 regions, 0.4 s for 2,000 images and 1.5 s for 10,000, on one
core. `scipy.stats.bootstrap` knows no clusters; without them both agree (see the tests).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import annotated_types
import numpy as np
from scipy.special import ndtr, ndtri

from unet_exp.bounds import NonNegativeInt, PositiveInt
from unet_exp.statistics.counts import CaseCounts
from unet_exp.statistics.score import Floats, Ratios, ratios

Method = Literal["percentile", "bca"]
Level = Annotated[float, annotated_types.Interval(gt=0, lt=1)]

FEW_CLUSTERS = 10
"""With fewer clusters an interval is said to be rough."""

_LACKING = 0.01
"""From this share of resamples without some class on, the mean over classes is said to be over fewer in some."""

_CHUNK = 1 << 22
"""Weights made at a time: 32 MB, however many clusters and draws there are."""


@dataclass(frozen=True)
class Interval:
    """A number with its confidence interval.

    Args:
        value: The statistic of the data itself.
        low: Lower end; NaN if the data cannot give an interval.
        high: Upper end.
        level: Nominal coverage.
        draws: Resamples in which the statistic is defined.
        clusters: What was resampled.
        method: How the ends were found.
        warnings: What limits trust in it, in words.
    """

    value: float
    low: float
    high: float
    level: float
    draws: int
    clusters: int
    method: Method
    warnings: tuple[str, ...] = ()

    def excludes(self, value: float) -> bool:
        """Whether a value lies outside; False if there is no interval."""
        return self.low > value or self.high < value


def bootstrap(
    counts: CaseCounts,
    names: Sequence[str],
    *,
    draws: PositiveInt = 10_000,
    seed: NonNegativeInt = 0,
    level: Level = 0.95,
    method: Method = "percentile",
) -> dict[str, Interval]:
    """Confidence intervals of named statistics of one run, all from the same resamples.

    Args:
        counts: The cases and their clusters.
        names: See `unet_exp.statistics.score.statistic_names`.
        draws: Number of resamples.
        seed: The result depends on nothing else that is random.
        level: Nominal coverage.
        method: `percentile`, or `bca`: corrected for bias and skewness with a jackknife over clusters (Efron 1987,
            doi 10.1080/01621459.1987.10478410). Where the correction is undefined, the percentile interval is given
            and says so.

    Returns:
        One interval per name.

    Raises:
        ConfigError: If a statistic is unknown.
    """
    tables = {name: by_cluster(counts, name) for name in names}
    return bootstrap_tables(tables, draws=draws, seed=seed, level=level, method=method)


def bootstrap_tables(
    tables: Mapping[str, Ratios], *, draws: int, seed: int, level: float, method: Method
) -> dict[str, Interval]:
    """Confidence intervals of statistics of any kind, all from the same resamples; see `bootstrap`.

    Args:
        tables: The statistics, with the same C clusters as rows.
        draws: Number of resamples.
        seed: The result depends on nothing else that is random.
        level: Nominal coverage.
        method: `percentile` or `bca`.
    """
    values = replicate(list(tables.values()), draws=draws, seed=seed)
    intervals = {}
    for (name, table), row in zip(tables.items(), values, strict=True):
        if method == "bca":
            intervals[name] = _bca_interval(table, row, level=level)
        else:
            intervals[name] = percentile_interval(table.value(), row, [table], level=level)
    return intervals


def by_cluster(counts: CaseCounts, name: str) -> Ratios:
    """A named statistic with one row per cluster, in the order of the clusters' names."""
    clusters, groups = np.unique(counts.clusters, return_inverse=True)
    return ratios(counts, name).sum_by(groups, len(clusters))


def replicate(tables: Sequence[Ratios], *, draws: int, seed: int) -> Floats:
    """Compute statistics on resampled clusters; a draw has the same clusters for all of them.

    Args:
        tables: T statistics, with the same C clusters as rows.
        draws: Number of resamples D.
        seed: Seed of the resampling.

    Returns:
        (T, D); NaN where a statistic is undefined in a draw.
    """
    numerators = np.concatenate([table.numerators for table in tables], axis=1)
    denominators = np.concatenate([table.denominators for table in tables], axis=1)
    ends = np.cumsum([table.numerators.shape[1] for table in tables])[:-1]
    chunks = []
    for weights in _cluster_weights(len(numerators), draws, np.random.default_rng(seed)):
        tops, bottoms = (np.split(weights @ sums, ends, axis=1) for sums in (numerators, denominators))
        parts = zip(tables, tops, bottoms, strict=True)
        chunks.append(np.stack([table.combine(top, bottom) for table, top, bottom in parts]))
    return np.concatenate(chunks, axis=1)


def percentile_interval(
    value: float, values: Floats, tables: Sequence[Ratios], *, level: float, warnings: Sequence[str] = ()
) -> Interval:
    """The middle `level` of resampled values.

    Args:
        value: The number on the data.
        values: The number in each draw, (D,); NaN where undefined.
        tables: The statistics it was made of, with the same C clusters as rows.
        level: Nominal coverage.
        warnings: What else limits trust in it.
    """
    clusters = len(tables[0].numerators)
    defined = values[~np.isnan(values)]
    tail = (1 - level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail]) if clusters > 1 and len(defined) else (np.nan, np.nan)
    return Interval(
        value=value,
        low=float(low),
        high=float(high),
        level=level,
        draws=len(defined),
        clusters=clusters,
        method="percentile",
        warnings=(*_warnings(tables, values), *warnings),
    )


def _warnings(tables: Sequence[Ratios], values: Floats) -> tuple[str, ...]:
    """What limits trust in a resampled number, in words.

    Args:
        tables: The statistics it was made of, with the same C clusters as rows.
        values: The number in each draw, (D,); NaN where undefined.
    """
    clusters = len(tables[0].numerators)
    warnings = []
    if clusters < 2:
        warnings.append("one cluster: there is no interval")
    elif clusters < FEW_CLUSTERS:
        warnings.append(f"{clusters} clusters: fewer than {FEW_CLUSTERS} give a rough interval, mostly too narrow")
    present = np.concatenate([(table.denominators > 0).sum(0) for table in tables])
    rarest = int(min(present[present > 0], default=clusters))
    lacking = (1 - rarest / clusters) ** clusters
    if lacking > _LACKING:
        warnings.append(
            f"a class occurs in {rarest} of {clusters} clusters only: about {lacking:.0%} of the resamples lack it"
        )
    undefined = int(np.isnan(values).sum())
    if undefined:
        warnings.append(f"undefined in {undefined} of {len(values)} resamples, which were left out")
    return tuple(warnings)


def _cluster_weights(clusters: int, draws: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each cluster comes in each draw, (d, C) at a time; a row adds up to C."""
    step = max(1, _CHUNK // clusters)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        picks = rng.integers(clusters, size=(rows, clusters)) + np.arange(rows)[:, None] * clusters
        yield np.bincount(picks.ravel(), minlength=rows * clusters).reshape(rows, clusters).astype(np.float64)


def _bca_interval(table: Ratios, values: Floats, *, level: float) -> Interval:
    interval = percentile_interval(table.value(), values, [table], level=level)
    defined = values[~np.isnan(values)]
    if np.isnan(interval.low):
        return interval
    quantiles = _bca_quantiles(table, defined, level)
    if quantiles is None:
        reason = "bca is undefined here (the resamples do not vary, or all lie on one side): percentile interval"
        return replace(interval, warnings=(*interval.warnings, reason))
    low, high = np.quantile(defined, quantiles)
    return replace(interval, low=float(low), high=float(high), method="bca")


def _bca_quantiles(table: Ratios, values: Floats, level: float) -> tuple[float, float] | None:
    """Which quantiles of the resampled values are the ends, Efron 1987; None if that is undefined."""
    value = table.value()
    below = ((values < value).mean() + (values <= value).mean()) / 2  # ties count half
    left_out = table.combine(table.numerators.sum(0) - table.numerators, table.denominators.sum(0) - table.denominators)
    influence = np.nanmean(left_out) - left_out
    influence = influence[~np.isnan(influence)]
    spread = (influence**2).sum()
    if not 0 < below < 1 or spread == 0:
        return None
    bias = ndtri(below)
    acceleration = (influence**3).sum() / (6 * spread**1.5)
    shifted = bias + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    low, high = ndtr(bias + shifted / (1 - acceleration * shifted))
    return float(low), float(high)

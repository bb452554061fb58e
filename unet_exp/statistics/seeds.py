"""The seeds of one model: a level of variation of its own, besides the images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unet_exp.statistics.bootstrap import replicate
from unet_exp.statistics.score import Floats, Ratios

FEW_SEEDS = 5
"""With fewer seeds an interval is said to be too narrow."""


@dataclass(frozen=True, eq=False)
class SeedReplicates:
    """A statistic of S runs that differ only in their seed, on the data and on D resamples of its clusters.

    Args:
        values: On the data, (S,).
        replicates: On resampled clusters, the same for all runs, (S, D).
    """

    values: Floats
    replicates: Floats

    @property
    def count(self) -> int:
        """Number of seeds S."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return float(self.values.mean())

    @property
    def sd(self) -> float:
        """Standard deviation over the seeds; NaN for a single one."""
        return float(self.values.std(ddof=1)) if self.count > 1 else np.nan

    @property
    def variance_of_mean(self) -> float:
        """Variance of the mean due to the choice of seeds, averaged over the resamples; NaN for a single seed."""
        return float(np.nanmean(self.replicates.var(axis=0, ddof=1))) / self.count if self.count > 1 else np.nan

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the number of seeds takes from an interval, in words."""
        if self.count == 1:
            return ("a single seed: the luck of that seed is not in the interval",)
        if self.count < FEW_SEEDS:
            return (f"{self.count} seeds: fewer than {FEW_SEEDS} give an interval that is too narrow",)
        return ()

    def resampled_means(self, rng: np.random.Generator) -> Floats:
        """Means of seeds drawn with replacement, anew in each resample of the clusters, (D,).

        S - 1 of the S seeds are drawn: drawing S would make the variance of the mean too small by (S - 1) / S, a third
        for three seeds (Rao and Wu 1988, doi 10.1080/01621459.1988.10478591).
        """
        picks = rng.integers(self.count, size=(max(1, self.count - 1), self.replicates.shape[1]))
        means: Floats = np.take_along_axis(self.replicates, picks, axis=0).mean(axis=0)
        return means


def replicate_models(models: Sequence[Sequence[Ratios]], *, draws: int, seed: int) -> list[SeedReplicates]:
    """Resample clusters jointly for all seeds of all models.

    Args:
        models: The statistic of each seed of each model, one row per cluster.
        draws: Number of resamples.
        seed: Seed of the resampling.
    """
    tables = [table for model in models for table in model]
    replicates = replicate(tables, draws=draws, seed=seed)
    values = np.array([table.value() for table in tables])
    ends = np.cumsum([len(model) for model in models])[:-1]
    return [SeedReplicates(*parts) for parts in zip(np.split(values, ends), np.split(replicates, ends), strict=True)]

"""The leaderboard: models in the order of their mean over seeds, each with an interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unet_exp.bounds import NonNegativeInt, PositiveInt
from unet_exp.errors import DataError
from unet_exp.statistics.bootstrap import Interval, Level, by_cluster, percentile_interval
from unet_exp.statistics.counts import CaseCounts, require_same_cases
from unet_exp.statistics.seeds import replicate_models


@dataclass(frozen=True)
class LeaderboardRow:
    """One model.

    Args:
        model: Its name.
        seeds: Number of runs.
        mean: Mean of the statistic over them.
        sd: Standard deviation over them; NaN for a single one.
        interval: The mean, with its interval over images and seeds.
    """

    model: str
    seeds: int
    mean: float
    sd: float
    interval: Interval


def leaderboard(
    runs: Mapping[str, Sequence[CaseCounts]],
    statistic: str,
    *,
    draws: PositiveInt = 10_000,
    seed: NonNegativeInt = 0,
    level: Level = 0.95,
) -> list[LeaderboardRow]:
    """Rank models by their mean over seeds, the best first.

    Overlapping intervals do not mean that two models are equal: the same images are hard for both, which only a
    paired comparison takes out (`unet_exp.statistics.paired.compare`).

    Args:
        runs: The runs of each model, one per seed, all on the same images.
        statistic: See `unet_exp.statistics.score.statistic_names`.
        draws: Number of resamples.
        seed: The result depends on nothing else that is random.
        level: Nominal coverage.

    Raises:
        ConfigError: If the statistic is unknown.
        DataError: If the runs are not of the same images.
    """
    empty = [name for name, counts in runs.items() if not counts]
    if empty:
        raise DataError(f"There is no run of {', '.join(empty)}.")
    require_same_cases([run for counts in runs.values() for run in counts])
    tables = [[by_cluster(run, statistic) for run in counts] for counts in runs.values()]
    models = replicate_models(tables, draws=draws, seed=seed)
    rows = []
    for name, model_tables, model in zip(runs, tables, models, strict=True):
        means = model.resampled_means(np.random.default_rng([seed, 1]))
        interval = percentile_interval(model.mean, means, model_tables, level=level, warnings=model.warnings)
        rows.append(LeaderboardRow(name, model.count, model.mean, model.sd, interval))
    return sorted(rows, key=lambda row: (-np.nan_to_num(row.mean, nan=-np.inf), row.model))

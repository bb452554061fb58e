"""How a search looks for its trials, and when it ends."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from unet_exp.bounds import NonNegativeInt, PositiveInt

_N_TRIALS = 30


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """The keys `hydra.sweeper.*` of conf/hydra/sweeper/optuna.yaml.

    Args:
        n_trials: Trials that are to finish or be pruned, over all launches; None: 30, or every point of the grid.
        sampler: Who chooses the values: the tree-structured Parzen estimator, chance, or a grid.
        n_startup_trials: Random trials before TPE learns; finished ones before the median pruner compares.
        seed: Of the sampler; None: another one each time.
        pruner: Who ends trials early.
        n_warmup_epochs: No trial ends before so many epochs.
        max_failures_in_a_row: The search stops after them.
        params: What is searched or fixed, by key, as on the command line; that overrules it.
    """

    n_trials: PositiveInt | None = None
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    n_startup_trials: PositiveInt = 10
    seed: NonNegativeInt | None = 0
    pruner: Literal["none", "median", "hyperband"] = "none"
    n_warmup_epochs: NonNegativeInt = 5
    max_failures_in_a_row: PositiveInt = 5
    params: Mapping[str, Any] | None = None

    def trials_wanted(self, grid_size: int) -> int:
        """How many trials make the search complete.

        Args:
            grid_size: Points of the grid.
        """
        if self.sampler == "grid":
            return min(self.n_trials or grid_size, grid_size)
        return self.n_trials or _N_TRIALS

"""Where Hydra finds the sweeper: it takes plugins from modules of the namespace package hydra_plugins only."""

from unet_exp.search.sweeper import SearchSweeper


class OptunaSweeper(SearchSweeper):
    """The sweeper of conf/hydra/sweeper/optuna.yaml."""

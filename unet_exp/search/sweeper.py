"""What Hydra calls for ``-m hydra/sweeper=optuna``. Optuna is imported when everything has been checked."""

from collections.abc import Sequence
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from unet_exp.cli import run_command
from unet_exp.config import to_plain
from unet_exp.errors import ConfigError
from unet_exp.search.check import check_space, fitted
from unet_exp.search.settings import SearchSettings
from unet_exp.search.space import read_space
from unet_exp.signature import call_mistakes
from unet_exp.sweep.launcher import SweepLauncher

_LAUNCHER = "hydra_plugins.unet_exp_local.LocalLauncher"


class SearchSweeper(Sweeper):
    """Lets Optuna choose the jobs of a sweep, one after the other.

    Args:
        settings: The keys of :class:`SearchSettings`.
    """

    def __init__(self, **settings: Any) -> None:
        self._given = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before the search; says what is wrong with its settings before anything is made."""
        self._config = config
        self._loader = hydra_context.config_loader
        run_command(self._check)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        assert isinstance(launcher, SweepLauncher)
        self._launcher = launcher

    def _check(self) -> None:
        target, choices = self._config.hydra.launcher._target_, self._config.hydra.runtime.choices
        if target != _LAUNCHER:
            raise ConfigError(
                [
                    f"hydra/launcher={choices.get('hydra/launcher')} cannot run a search: it decides after each job "
                    "which one is next. Use hydra/launcher=local; on a cluster, start the same command in several "
                    "allocations, which then share the search."
                ]
            )
        arguments = to_plain(self._config.hydra.sweeper)
        arguments.pop("_target_")
        mistakes = [*call_mistakes("hydra.sweeper", SearchSettings, arguments)]
        if mistakes:
            raise ConfigError(mistakes)
        self._settings = SearchSettings(**arguments)

    def sweep(self, arguments: list[str]) -> Any:
        """Run the search; called by Hydra.

        Args:
            arguments: The command line without Hydra's own keys.
        """
        run_command(lambda: self._sweep(arguments))

    def _sweep(self, arguments: Sequence[str]) -> None:
        space = fitted(read_space(self._settings.params or {}, arguments, self._loader), self._config)
        launcher = self._launcher
        slots = launcher.slots()
        check_space(space, self._settings, self._config, self._loader, launcher.composed)
        from unet_exp.search.session import run_search

        incomplete = run_search(
            launcher.folder, space, self._settings, launcher.settings, slots, launcher.composed, launcher.flags()
        )
        if incomplete:
            SweepLauncher.exit_code = 1

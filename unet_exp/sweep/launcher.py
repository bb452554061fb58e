"""What Hydra calls for ``-m``: the combinations become jobs, the jobs run, the report is written.

Nothing here imports torch: the sweep itself is a small process that only watches others.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unet_exp.bounds import NonNegativeInt, PositiveInt
from unet_exp.cli import run_command
from unet_exp.config import to_plain
from unet_exp.errors import ConfigError, UserError
from unet_exp.run.rank import is_first_process
from unet_exp.signature import call_mistakes
from unet_exp.sweep.job import Composed
from unet_exp.sweep.settings import SweepSettings

if TYPE_CHECKING:
    from unet_exp.sweep.slots import Slot


class SweepLauncher(Launcher):
    """Runs jobs on this machine, each in a process of its own.

    Args:
        n_jobs: Jobs at a time; None: as many as the GPUs allow, without GPUs one.
        gpus_per_job: GPUs of each job; None: one, if there are any.
        gpus: Devices to hand out, None: those that this process may use.
    """

    exit_code = 0
    """Of the whole command. Hydra would not run the next batch after a failure, nor tell one by its exit code."""

    def __init__(
        self,
        n_jobs: PositiveInt | None = None,
        gpus_per_job: NonNegativeInt | None = None,
        gpus: Sequence[int | str] | None = None,
    ) -> None:
        self._n_jobs = n_jobs
        self._gpus_per_job = gpus_per_job
        self._gpus = None if gpus is None else [str(gpu) for gpu in gpus]

    def setup(
        self,
        *,
        hydra_context: HydraContext,
        task_function: TaskFunction,  # noqa: ARG002
        config: DictConfig,
    ) -> None:
        """Called by Hydra before the sweep; says what is wrong with it before anything is made."""
        self._loader = hydra_context.config_loader
        self._config = config
        run_command(self._check)

    def _check(self) -> None:
        if not is_first_process():
            raise UserError("A sweep (-m) is started once, without torchrun or srun; it starts all processes itself.")
        arguments, sweep = to_plain(self._config.hydra.launcher), to_plain(self._config.sweep)
        arguments.pop("_target_")
        mistakes = [*call_mistakes("hydra.launcher", self._checked_by(), arguments, owner="the launcher")]
        mistakes += call_mistakes("sweep", SweepSettings, sweep)
        if self._config.resume is not None:
            mistakes.append("resume: a sweep finds by itself what can be continued; leave resume away.")
        if mistakes:
            raise ConfigError(mistakes)
        self.settings = SweepSettings(**sweep)

    def _checked_by(self) -> Callable[..., Any]:
        """What the keys of hydra.launcher are arguments of."""
        return SweepLauncher

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:  # noqa: ARG002
        """Run one job for each list of overrides; called by Hydra's sweeper."""
        run_command(lambda: self._launch(job_overrides))
        return [JobReturn(overrides=o, status=JobStatus.COMPLETED) for o in job_overrides]

    def _launch(self, job_overrides: Sequence[Sequence[str]]) -> None:
        composed = [self.composed(overrides) for overrides in job_overrides]
        if self._run(composed, job_overrides):
            SweepLauncher.exit_code = 1

    def _run(self, composed: Sequence[Composed], job_overrides: Sequence[Sequence[str]]) -> bool:
        """Run the jobs; returns whether one has failed."""
        from unet_exp.sweep.session import run_sweep

        return run_sweep(self.folder, composed, job_overrides, self.slots(), self.settings, self.flags())

    @property
    def folder(self) -> Path:
        """The folder of the sweep, absolute."""
        return Path(self._config.hydra.sweep.dir).resolve()

    def slots(self) -> "list[Slot]":
        """What the jobs may use; so many run at a time.

        Raises:
            ConfigError: If there are fewer GPUs than asked for.
        """
        from unet_exp.sweep.slots import make_slots, visible_gpus

        gpus = visible_gpus(os.environ) if self._gpus is None else self._gpus
        return make_slots(self._n_jobs, self._gpus_per_job, gpus)

    def composed(self, overrides: Sequence[str]) -> Composed:
        """The resolved configuration of one job, and the chosen option of every group.

        Raises:
            ConfigError: If a value is missing or an interpolation cannot be resolved.
        """
        config = self._loader.load_sweep_config(self._config, list(overrides))
        names = config.hydra.runtime.choices
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        try:
            return to_plain(config), names
        except OmegaConfBaseException as error:
            raise ConfigError([f"{' '.join(overrides)}: {str(error).splitlines()[0]}"]) from None

    def flags(self) -> list[str]:
        """Hydra's own options of the sweep, which its jobs need too."""
        hydra = self._config.hydra
        flags = [] if hydra.job.config_name == "train" else ["--config-name", hydra.job.config_name]
        for source in hydra.runtime.config_sources:
            if source.provider == "command-line":
                flags += ["--config-dir", source.path]
        return flags


def offer_launcher() -> None:
    """Let Hydra find the launchers, from a checkout and from a wheel alike; call it before Hydra's main."""
    # Installed at the top level, our hydra_plugins would be imported by every other program that uses Hydra.
    sys.path.append(str(Path(__file__).parent / "plugin"))

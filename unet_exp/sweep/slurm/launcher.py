"""What Hydra calls for ``-m hydra/launcher=slurm``."""

from collections.abc import Callable, Sequence
from typing import Any

from unet_exp.sweep.job import Composed
from unet_exp.sweep.launcher import SweepLauncher
from unet_exp.sweep.slurm.settings import SlurmSettings


class SlurmSweepLauncher(SweepLauncher):
    """Submits jobs to SLURM, and watches them.

    Args:
        settings: The arguments of SlurmSettings.
    """

    def __init__(self, **settings: Any) -> None:
        self._given = settings

    def _checked_by(self) -> Callable[..., Any]:
        return SlurmSettings

    def _check(self) -> None:
        from unet_exp.sweep.slurm.commands import require_slurm

        super()._check()
        require_slurm()

    def _run(self, composed: Sequence[Composed], job_overrides: Sequence[Sequence[str]]) -> bool:
        from unet_exp.sweep.slurm.session import run_slurm_sweep

        slurm = SlurmSettings(**self._given)
        return run_slurm_sweep(self.folder, composed, job_overrides, slurm, self.settings, self.flags())

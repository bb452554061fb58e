"""One launch of a sweep under SLURM, from its combinations to the report."""

import time
from collections.abc import Sequence
from pathlib import Path

from unet_exp.errors import ConfigError, counted
from unet_exp.run.signals import StopRequest, stop_request
from unet_exp.sweep.display import Display
from unet_exp.sweep.job import Composed
from unet_exp.sweep.runner import make_sweep_folder
from unet_exp.sweep.session import conclude, distinct_jobs
from unet_exp.sweep.settings import SweepSettings
from unet_exp.sweep.slurm.commands import partitions
from unet_exp.sweep.slurm.preflight import cluster_mistakes, trainer_mistakes
from unet_exp.sweep.slurm.runner import SlurmRunner
from unet_exp.sweep.slurm.settings import SlurmSettings


def run_slurm_sweep(
    folder: Path,
    composed: Sequence[Composed],
    overrides: Sequence[Sequence[str]],
    slurm: SlurmSettings,
    settings: SweepSettings,
    flags: Sequence[str] = (),
) -> bool:
    """Submit what is not finished yet, watch it, and compare all runs.

    Args:
        folder: The folder of the sweep, absolute; all nodes must see it.
        composed: Configuration and choices of every combination.
        overrides: Command line of every combination.
        slurm: What each job asks for.
        settings: What becomes of jobs that fail, and whether there is a report.
        flags: Options of Hydra's that every job gets.

    Returns:
        Whether a job has failed.

    Raises:
        ConfigError: If settings, trainer and cluster do not fit; nothing was submitted.
        UserError: If SLURM refuses the jobs.
        SystemExit: If a signal has ended the watching; the jobs go on.
    """
    start = time.monotonic()
    mistakes = trainer_mistakes(slurm, [config for config, _ in composed]) + cluster_mistakes(slurm, partitions())
    if mistakes:
        raise ConfigError(mistakes)
    make_sweep_folder(folder)
    jobs = distinct_jobs(folder, composed, overrides)
    with Display(jobs) as display, stop_request() as request:
        display.overview(folder)
        display.say(f"SLURM: each with {slurm.summary}")
        runner = SlurmRunner(folder, jobs, slurm, settings, display, flags)
        complete = runner.run(request)
    if not complete:
        _say_how_to_go_on(display, runner.submitted, request)
        return False
    display.ending(time.monotonic() - start)
    return conclude(folder, jobs, settings, display)


def _say_how_to_go_on(display: Display, ids: Sequence[str], request: StopRequest) -> None:
    masters = sorted({number.partition("_")[0] for number in ids})
    display.say(
        f"{counted(len(ids), 'job')} left to SLURM. To watch again: the same command, nothing is submitted twice"
    )
    if masters:
        display.say(f"To stop them, their state saved: scancel {' '.join(masters)}")
    if request:
        raise SystemExit(request.error().exit_code)

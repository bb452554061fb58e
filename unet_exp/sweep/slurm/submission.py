"""Jobs become SLURM jobs, by way of submitit."""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

from unet_exp.errors import UserError
from unet_exp.sweep.job import Action, Job
from unet_exp.sweep.slurm.commands import submission_environment
from unet_exp.sweep.slurm.settings import SlurmSettings
from unet_exp.sweep.slurm.task import SlurmTask, run_task

FOLDER = "slurm"
"""In the folder of the sweep: batch scripts, and what SLURM itself says about each job."""


def job_name(sweep: Path) -> str:
    """Name of a sweep's jobs in SLURM's lists."""
    return f"unet_exp-{sweep.name}"


def submit(jobs: Sequence[Job], sweep: Path, settings: SlurmSettings, flags: Sequence[str] = ()) -> list[str]:
    """Submit jobs; returns their ids in SLURM.

    Args:
        jobs: At least one.
        sweep: The folder of the sweep.
        settings: What each asks for.
        flags: Options of Hydra's that every job gets.

    Raises:
        UserError: With what sbatch says if it refuses.
    """
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    tasks = [_task(job, sweep, settings, flags) for job in jobs]
    # submitit prints what sbatch says, and raises it too.
    with _environment(submission_environment(os.environ)), redirect_stderr(io.StringIO()):
        executor = SlurmExecutor(sweep / FOLDER)
        executor.update_parameters(**settings.sbatch_parameters(job_name(sweep)))
        try:
            if settings.array and len(tasks) > 1:
                submitted = executor.map_array(run_task, tasks)
            else:
                submitted = [executor.submit(run_task, task) for task in tasks]
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            raise UserError(f"SLURM has refused the jobs:\n{_reason(error)}") from None
    return [str(job.job_id) for job in submitted]


def slurm_output(sweep: Path, number: str) -> Path:
    """What SLURM and the batch script have said about a job."""
    return sweep / FOLDER / f"{number}_0_log.out"


def _task(job: Job, sweep: Path, settings: SlurmSettings, flags: Sequence[str]) -> SlurmTask:
    return SlurmTask(
        folder=str(job.folder.path),
        commands={str(action): job.command(action, flags) for action in (Action.START, Action.CONTINUE)},
        tasks=settings.tasks,
        threads=settings.cpus_per_task,
        requeues=settings.requeues,
        warned_after=60.0 * settings.timeout_min - settings.signal_delay_s,
        group=sweep.name,
    )


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Let submitit call sbatch with this environment, which the jobs get too."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _reason(error: Exception) -> str:
    """What sbatch said, without submitit's traceback of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("sbatch:")]
    return "\n".join(f"  {line}" for line in said or lines[-5:])

"""A training as a job of SLURM's, seen from the training: its warning signal, and how it goes back into the queue."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from unet_exp.errors import RunInterruptedError
from unet_exp.run.folder import RunFolder
from unet_exp.run.rank import is_first_process
from unet_exp.sweep.membership import SLURM_VARIABLE, job_folder
from unet_exp.sweep.records import change_record, read_record
from unet_exp.sweep.slurm.commands import is_preempted, requeue

WARNING_SIGNAL = signal.SIGUSR2
"""What submitit lets SLURM send before the time limit, and where so configured before a preemption."""
_RESOLUTION = 90.0
"""Seconds that SLURM's warning may come early (60 according to sbatch's manual)."""


@dataclass(frozen=True)
class SlurmMembership:
    """What a training knows of its job.

    Args:
        job_id: For example 12, or 12_3 in an array.
        tasks: Processes of the job.
        requeues: So many time-outs are forgiven.
        warned_at: Unix time at which SLURM warns of the time limit.
    """

    job_id: str
    tasks: int
    requeues: int
    warned_at: float

    def variable(self) -> dict[str, str]:
        """The environment variable that tells the training."""
        return {SLURM_VARIABLE: json.dumps(asdict(self))}

    def requeue(self, folder: RunFolder, signal_name: str) -> None:
        """Go back into the queue after a preemption or the time limit, unless that was reached too often.

        A preempted job that ends within its grace time is not requeued by SLURM. status.json tells what was done.
        """
        warned = signal_name == WARNING_SIGNAL.name
        if not warned and not is_preempted(self.job_id):
            return
        timed_out = warned and time.time() >= self.warned_at - _RESOLUTION
        count = int(read_record(folder.path).get("timeouts", 0)) + timed_out
        cause = f"time limit ({count} of {self.requeues} times)" if timed_out else f"preempted ({signal_name})"
        if count > self.requeues:
            folder.write_status(
                "interrupted",
                f"time limit; it was requeued {self.requeues} times (hydra.launcher.requeues). The same command again "
                "continues it",
            )
            return
        change_record(folder.path, timeouts=count)
        folder.write_status("interrupted", f"{cause}; requeued")  # before SLURM ends this process
        problem = requeue(self.job_id)
        if problem:
            folder.write_status("interrupted", f"{cause}; could not be requeued: {problem}")


def slurm_membership() -> SlurmMembership | None:
    """The job that this training is, None outside of our SLURM jobs."""
    content = os.environ.get(SLURM_VARIABLE)
    return SlurmMembership(**json.loads(content)) if content else None


def warning_signals() -> tuple[signal.Signals, ...]:
    """Signals that ask this training to stop besides SIGINT and SIGTERM."""
    return (WARNING_SIGNAL,) if slurm_membership() else ()


@contextmanager
def requeued_when_warned() -> Iterator[None]:
    """Inside a SLURM job: put it back into the queue if its time limit or a preemption has ended the block.

    Raises:
        SystemExit: In all processes but the first one, with 0: they have done their part, and another code would make
            srun kill the first one, which still writes.
    """
    job, folder = slurm_membership(), job_folder()
    try:
        yield
    except RunInterruptedError as error:
        if job is None or folder is None:
            raise
        if not is_first_process():
            raise SystemExit(0) from None
        job.requeue(RunFolder(folder), error.signal_name)
        raise

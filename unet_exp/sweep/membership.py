"""A training as a job of a sweep, seen from the job: which folder it has, and that it ends with the sweep."""

import ctypes
import os
import signal
import sys
from pathlib import Path

from unet_exp.run.rank import is_first_process

FOLDER_VARIABLE = "UNET_EXP_JOB_FOLDER"
"""The job's folder; its lock is held for the job by the sweep."""
LAUNCHER_VARIABLE = "UNET_EXP_LAUNCHER_PID"
"""The process that has started the job."""
SLURM_VARIABLE = "UNET_EXP_SLURM_JOB"
"""What a training must know of its SLURM job, as JSON."""

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux' prctl


def job_folder() -> Path | None:
    """The folder that the sweep has made for this training, None outside of sweeps."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Path(folder) if folder else None


def end_with_sweep() -> None:
    """Inside a sweep on Linux: be asked to stop when the sweep has died, even of ``kill -9``.

    The further processes of a distributed job have nothing to save, and could wait forever for one that has died:
    they are killed.
    """
    launcher = os.environ.get(LAUNCHER_VARIABLE)
    if launcher is None or not sys.platform.startswith("linux"):
        return
    first = is_first_process()
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM if first else signal.SIGKILL, 0, 0, 0)
    if first and os.getppid() != int(launcher):  # it died before it could be watched
        raise SystemExit(128 + signal.SIGTERM)

"""The process of one job: its environment, how it is started, watched, and stopped with all it has started."""

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from unet_exp.run.lock import LOCK_VARIABLE, FolderLock
from unet_exp.sweep.membership import FOLDER_VARIABLE, LAUNCHER_VARIABLE, SLURM_VARIABLE

_OF_ONE_TRAINING = frozenset(
    {
        "RANK",
        "LOCAL_RANK",
        "GROUP_RANK",
        "ROLE_RANK",
        "ROLE_NAME",
        "NODE_RANK",
        "WORLD_SIZE",
        "LOCAL_WORLD_SIZE",
        "GROUP_WORLD_SIZE",
        "ROLE_WORLD_SIZE",
        "WANDB_RUN_ID",
        "WANDB_RESUME",
        "WANDB_SWEEP_ID",
        "WANDB_SWEEP_PARAM_PATH",
        "UNET_EXP_RUN_FOLDER",
        FOLDER_VARIABLE,
        LAUNCHER_VARIABLE,
        SLURM_VARIABLE,
        LOCK_VARIABLE,
    }
)
_OF_ONE_LAUNCHER = ("MASTER_", "SLURM_", "TORCHELASTIC_", "PL_", "PMI_", "PMIX_", "OMPI_")

_HEADING = "--- started "
"""Begins each attempt in the log of a job."""

_GRACE = 5.0
"""Seconds that the other processes of a job have after its first one has ended, before they are killed."""


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what another training would tell this one about its rank and its W&B run."""
    return {
        name: value
        for name, value in environment.items()
        if name not in _OF_ONE_TRAINING and not name.startswith(_OF_ONE_LAUNCHER)
    }


class JobProcess:
    """A job that runs, in a session and process group of its own.

    Args:
        command: Its command line.
        environment: Its whole environment.
        folder: Its run folder, which exists.
        log: File that its output is added to.
        lock: The lock of the folder; the process holds it too.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, lock: FolderLock
    ) -> None:
        self._lock = lock
        self._ended: float | None = None
        told = {FOLDER_VARIABLE: str(folder), LAUNCHER_VARIABLE: str(os.getpid()), "PYTHONUNBUFFERED": "1"}
        with log.open("ab") as file:
            write_heading(file, command)
            self._process = subprocess.Popen(
                list(command),
                env={**environment, **told},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.descriptor],
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id, which is its process group too."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while any process of the job lives, else the exit code of the first (negative: minus the signal)."""
        if self._process.poll() is None:
            return None
        if self._group_lives():
            self._ended = self._ended or time.monotonic()
            if time.monotonic() - self._ended < _GRACE:
                return None
            self.send(signal.SIGKILL)  # they wait for one that has died, or hold memory of the GPU
        return self._process.returncode

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the job."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for what has just ended
            os.killpg(self.pid, number)

    def release(self) -> None:
        """Give the job's folder free."""
        self._lock.release()

    def _group_lives(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def write_heading(log: BinaryIO, command: Sequence[str]) -> None:
    """Begin another attempt in the log of a job."""
    shown = " ".join(shlex.join(command).splitlines())
    log.write(f"{_HEADING}{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {shown}\n".encode())
    log.flush()


def told_error(log: Path) -> str | None:
    """The message that ended the last attempt, on one line; None if the log has none."""
    said = log_tail(log, 40)
    first = max((number for number, line in enumerate(said) if line.startswith("error: ")), default=None)
    return None if first is None else " ".join(line.strip() for line in said[first:]).removeprefix("error: ")


def log_tail(log: Path, lines: int = 15) -> list[str]:
    """The last lines that the last attempt has written to a log, without those that are empty."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 20_000))
            written = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    start = max((number for number, line in enumerate(written) if line.startswith(_HEADING)), default=-1)
    return [line.rstrip() for line in written[start + 1 :] if line.strip()][-lines:]

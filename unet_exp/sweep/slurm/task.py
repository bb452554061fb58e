"""What each task of a SLURM job does: agree on start or continue, then become the training.

submitit calls `run_task` in every task. It ends in ``exec``, so nothing of submitit is left in the training, least of
all its signal handlers. The decision is taken when the job runs, not when it is submitted: a requeued job continues.
"""

import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from unet_exp.run.folder import RunFolder
from unet_exp.run.lock import LOCK_VARIABLE, FolderLock, NoLocksError, acquire_patiently
from unet_exp.sweep.job import Action, JobState, next_action
from unet_exp.sweep.membership import FOLDER_VARIABLE
from unet_exp.sweep.process import clean_environment, write_heading
from unet_exp.sweep.records import change_record, read_record, start_record
from unet_exp.sweep.slots import thread_limits
from unet_exp.sweep.slurm.membership import WARNING_SIGNAL, SlurmMembership

IN_USE = 75
"""Exit code of a job in whose folder another training works (EX_TEMPFAIL)."""
_LOCK_PATIENCE = 60.0
"""Seconds to wait for the lock: of a killed training whose workers still end, or of the submission itself."""
_DECISION_PATIENCE = 300.0
"""Seconds that the other tasks wait for the first; NFS may show them its file a minute late."""
_PAUSE = 0.2


@dataclass(frozen=True)
class SlurmTask:
    """What submitit carries to the nodes.

    Args:
        folder: The job's run folder.
        commands: Command lines of the training, by action.
        tasks: Processes of the job.
        threads: CPU cores of each.
        requeues: So many time-outs are forgiven.
        warned_after: Seconds after the start at which SLURM warns of the time limit.
        group: Group in W&B.
    """

    folder: str
    commands: Mapping[str, list[str]]
    tasks: int
    threads: int
    requeues: int
    warned_after: float
    group: str


def run_task(task: SlurmTask) -> None:
    """Called by submitit in every task of a job."""
    # Blocked rather than handled, here and in all that is started from here: a program without a handler would die of
    # it, such as Python while it starts, or W&B's. The training looks for it between its steps.
    signal.pthread_sigmask(signal.SIG_BLOCK, {WARNING_SIGNAL})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing to save yet
    membership = SlurmMembership(_job_id(), task.tasks, task.requeues, time.time() + task.warned_after)
    folder = RunFolder(Path(task.folder))
    rank = int(os.environ["SLURM_PROCID"])
    decision, lock = _decide(folder, membership.job_id) if rank == 0 else (_decision(folder), None)
    if decision["action"] == Action.SKIP:
        return
    environment = _environment(task, membership, decision)
    if lock is not None:
        os.set_inheritable(lock.descriptor, True)
        environment[LOCK_VARIABLE] = str(lock.descriptor)
    _become(task.commands[decision["action"]], environment, _log(folder, rank))


def _decide(folder: RunFolder, job_id: str) -> tuple[dict[str, Any], FolderLock | None]:
    """Take the folder's lock, choose between start and continue, and tell the other tasks through job.json."""
    try:
        lock = acquire_patiently(folder.path, _LOCK_PATIENCE)
    except NoLocksError:
        lock = None
    else:
        if lock is None:
            sys.stderr.write(f"{folder.path} is in use by another training; this job leaves it alone.\n")
            raise SystemExit(IN_USE)
    action = next_action(folder, retry_failed=True)
    decision = {"attempt": _attempt(), "action": str(action), "address": _address(), "port": _free_port()}
    if action is Action.SKIP:
        change_record(folder.path, decision=decision)
        if lock is not None:
            lock.release()
        return decision, None
    folder.write_status(JobState.RUNNING.value)  # what an earlier attempt wrote is not said of this one
    start_record(folder.path, slurm_id=job_id, decision=decision)
    return decision, lock


def _decision(folder: RunFolder) -> dict[str, Any]:
    """Wait for what the first task decides."""
    deadline = time.monotonic() + _DECISION_PATIENCE
    while time.monotonic() < deadline:
        decision = read_record(folder.path).get("decision") or {}
        if decision.get("attempt") == _attempt():
            return dict(decision)
        time.sleep(_PAUSE)
    sys.stderr.write(f"The first task of this job has written no decision to {folder.path}; is the folder shared?\n")
    raise SystemExit(1)


def _job_id() -> str:
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]


def _attempt() -> str:
    return f"{_job_id()}.{os.environ.get('SLURM_RESTART_COUNT', 0)}.{os.environ.get('SLURM_STEP_ID', 0)}"


def _address() -> str:
    """A name of this node that other nodes know."""
    for name in (os.environ.get("SLURMD_NODENAME"), socket.gethostname()):
        with suppress(OSError):
            if name and socket.getaddrinfo(name, None):
                return name
    return os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _environment(task: SlurmTask, membership: SlurmMembership, decision: Mapping[str, Any]) -> dict[str, str]:
    """The training's environment: nothing of another one's ranks, but SLURM's."""
    ranks = {name: value for name, value in os.environ.items() if name.startswith("SLURM_")}
    environment = {n: v for n, v in clean_environment(os.environ).items() if not n.startswith("SUBMITIT_")} | ranks
    environment |= thread_limits(task.threads, environment)
    environment |= membership.variable() | {FOLDER_VARIABLE: task.folder, "PYTHONUNBUFFERED": "1"}
    environment.setdefault("WANDB_RUN_GROUP", task.group)
    if task.tasks > 1:
        environment |= {"MASTER_ADDR": decision["address"], "MASTER_PORT": str(decision["port"])}
    return environment


def _log(folder: RunFolder, rank: int) -> Path:
    # Not one file for all: appending from several nodes at a time loses lines on NFS.
    return folder.path / ("log.txt" if rank == 0 else f"log-{rank}.txt")


def _become(command: list[str], environment: Mapping[str, str], log: Path) -> NoReturn:
    """Replace this process by the training, whose output goes to its log."""
    command = [sys.executable, *command[1:]]
    sys.stdout.write(f"now {shlex.join(command)}\noutput in {log}\n")
    sys.stdout.flush()
    with log.open("ab") as file:
        write_heading(file, command)
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.execve(command[0], command, dict(environment))

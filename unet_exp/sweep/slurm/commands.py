"""SLURM's own commands, and what they say."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from unet_exp.errors import UserError
from unet_exp.sweep.process import clean_environment

_ENDED = frozenset(
    [
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
        "TIMEOUT",
    ]
)
_SECONDS = 60.0


class SlurmUnavailableError(UserError):
    """A command of SLURM's has failed or not answered."""


@dataclass(frozen=True)
class QueueEntry:
    """A job as squeue shows it.

    Args:
        state: For example PENDING.
        reason: Why it waits.
        name: Its name in SLURM.
        nodes: Where it runs.
    """

    state: str
    reason: str
    name: str
    nodes: str

    @property
    def ended(self) -> bool:
        """Whether it will not run any more."""
        return self.state in _ENDED


@dataclass(frozen=True)
class Partition:
    """A partition as sinfo shows it.

    Args:
        minutes: Its time limit; None: there is none.
        nodes: How many it has.
        gpus: GPUs of the node that has most; 0 if it has none.
    """

    minutes: int | None
    nodes: int
    gpus: int


def require_slurm() -> None:
    """Check that jobs can be submitted from here.

    Raises:
        UserError: If they cannot.
    """
    absent = [name for name in ("sbatch", "squeue", "srun", "scontrol", "scancel") if shutil.which(name) is None]
    if absent:
        raise UserError(
            f"hydra/launcher=slurm needs SLURM's commands, but here is no {' and no '.join(absent)}. Start it on a "
            "login node of the cluster; without SLURM, leave hydra/launcher away: the jobs then run on this machine."
        )


def submission_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment to submit from: a job that submits others must not pass its own size on to them."""
    kept = {"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_TIME_FORMAT"}
    return clean_environment(environment) | {name: environment[name] for name in kept if name in environment}


def job_queue(ids: Iterable[str]) -> dict[str, QueueEntry]:
    """What SLURM knows of some jobs; those that ended long ago are absent.

    Args:
        ids: Their ids; those of jobs in arrays such as 12_3.

    Raises:
        SlurmUnavailableError: If SLURM does not answer.
    """
    masters = sorted({each.partition("_")[0] for each in ids})
    if not masters:
        return {}
    shown = "--format=%i|%T|%r|%j|%N"
    done = _call("squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(masters)}", shown)
    if done.returncode and "Invalid job id" not in done.stderr:
        raise SlurmUnavailableError(f"squeue failed: {_said(done)}")
    found = {}
    for line in done.stdout.splitlines():
        number, state, reason, name, nodes = line.split("|", 4)
        found[number] = QueueEntry(state, reason, name, nodes)
    return found


def partitions() -> dict[str, Partition]:
    """All partitions by name; that under the empty name is the default one."""
    done = _call("sinfo", "--noheader", "--format=%P|%l|%D|%G")
    if done.returncode:
        raise SlurmUnavailableError(f"sinfo failed: {_said(done)}")
    found: dict[str, Partition] = {}
    for line in done.stdout.splitlines():
        name, limit, nodes, resources = line.strip().split("|", 3)
        plain, before = name.rstrip("*"), found.get(name.rstrip("*"))
        gpus = max(_gpus(resources), before.gpus if before else 0)
        found[plain] = Partition(_minutes(limit), int(nodes) + (before.nodes if before else 0), gpus)
        if name.endswith("*"):
            found[""] = found[plain]
    return found


def cancel(ids: Iterable[str]) -> None:
    """End jobs; they have SLURM's KillWait to save their state."""
    _call("scancel", *ids)


def requeue(number: str) -> str | None:
    """Put the job that calls this back into the queue; returns what went wrong, or None."""
    done = _call("scontrol", "requeue", number)
    return _said(done) if done.returncode else None


def is_preempted(number: str) -> bool:
    """Whether SLURM is about to end a job for a more important one."""
    return bool(re.search(r"\bPreemptTime=\d", _call("scontrol", "--oneliner", "show", "job", number).stdout))


def exit_code(number: str) -> int | None:
    """Exit code of a job that has ended, None if SLURM has forgotten it; a signal counts as 128 and its number."""
    match = re.search(r"\bExitCode=(\d+):(\d+)", _call("scontrol", "--oneliner", "show", "job", number).stdout)
    if match is None:
        return None
    code, killed = int(match[1]), int(match[2])
    return 128 + killed if killed else code


def _call(*command: str) -> subprocess.CompletedProcess[str]:
    environment = submission_environment(os.environ)
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").split())


def _minutes(limit: str) -> int | None:
    """Minutes in ``[days-]hours:minutes:seconds`` as sinfo writes it; None for infinite."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit)
    if match is None:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in match.groups())
    return (days * 24 + hours) * 60 + minutes


def _gpus(resources: str) -> int:
    """GPUs in a list of generic resources such as ``gpu:a100:4(S:0-1),nvme:1``."""
    return sum(int(number) for number in re.findall(r"\bgpu(?::[^:,()]+)?:(\d+)", resources))

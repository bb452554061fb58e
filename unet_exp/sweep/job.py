"""The jobs of a sweep: who they are, where they live, what is to be done with each."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from unet_exp.run.folder import RunFolder
from unet_exp.run.identity import run_label

Composed = tuple[Mapping[str, Any], Mapping[str, str]]
"""The resolved configuration of a job, and the chosen option of every group."""


class JobState(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"
    QUEUED = "queued"
    """Submitted to SLURM, and not running yet."""
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    PRUNED = "pruned"
    """A search has ended it, since others were better after as many epochs."""
    ELSEWHERE = "elsewhere"
    """Another launch of the sweep, or a training by hand, is at it."""


class Action(StrEnum):
    """What to do with a job whose folder nobody else works in."""

    START = "start"
    CONTINUE = "continue"
    SKIP = "skip"


@dataclass
class Job:
    """One combination of the sweep.

    Args:
        folder: Its run folder, which has its identity as name.
        overrides: Its command line.
        varied: The part of it that tells it from the other jobs, for people.
        config: Its plain, resolved configuration.
        names: Chosen option of every group.
        state: Where it stands.
        reason: Why it failed.
        ran: Whether this launch has started it.
    """

    folder: RunFolder
    overrides: Sequence[str]
    varied: str
    config: Mapping[str, Any]
    names: Mapping[str, str]
    state: JobState = JobState.WAITING
    reason: str = ""
    ran: bool = field(default=False)

    @property
    def label(self) -> str:
        """Name of its folder."""
        return self.folder.path.name

    @property
    def log(self) -> Path:
        """What it has written to stdout and stderr."""
        return self.folder.path / "log.txt"

    @property
    def processes(self) -> int:
        """Processes that share its CPU threads, as far as that is known before it runs."""
        devices = self.config["trainer"].get("devices")
        return devices if isinstance(devices, int) and devices > 0 else 1

    def command(self, action: Action, flags: Sequence[str] = ()) -> list[str]:
        """Command line of its process.

        Args:
            action: Whether it starts or continues.
            flags: Options of Hydra's that the sweep was given.
        """
        resume = [f"resume={_quoted(str(self.folder.path))}"] if action is Action.CONTINUE else []
        return [sys.executable, "-m", "unet_exp.train", *flags, *self.overrides, *resume]


def make_job(
    parent: Path, config: Mapping[str, Any], names: Mapping[str, str], overrides: Sequence[str], varied: str
) -> Job:
    """A job, with its folder in `parent`; nothing is made on disk.

    Args:
        parent: Folder of the sweep.
        config: The plain, resolved configuration.
        names: Chosen option of every group.
        overrides: Its command line.
        varied: The part of it that tells it from the other jobs.
    """
    return Job(RunFolder(parent / run_label(config, names)), overrides, varied, config, names)


def varied_overrides(every: Sequence[Sequence[str]]) -> list[str]:
    """For each job, the overrides that not all jobs have, as one text."""
    shared = set.intersection(*(set(overrides) for overrides in every)) if every else set()
    return [" ".join(o for o in overrides if o not in shared) for overrides in every]


def next_action(folder: RunFolder, *, retry_failed: bool, keep_pruned: bool = False) -> Action:
    """What is to be done with a job, as its folder tells; its lock must be held.

    A job that is recorded as running has been killed: whoever trains holds the lock. A failed one continues from
    its last checkpoint too, since most failures (memory, disk, a node) are not the training's own.

    Args:
        folder: The folder of the job.
        retry_failed: Whether failed jobs get another chance.
        keep_pruned: Whether jobs that a search has ended early stay as they are.
    """
    state = str(folder.status().get("state", ""))
    over: dict[str, bool] = {JobState.FINISHED: True, JobState.FAILED: not retry_failed, JobState.PRUNED: keep_pruned}
    if over.get(state):
        return Action.SKIP
    resumable = folder.has_checkpoint("last") and folder.config_file.is_file() and folder.environment_file.is_file()
    return Action.CONTINUE if resumable else Action.START


def recorded(folder: RunFolder) -> tuple[JobState, str]:
    """State and reason of a job as its folder tells; without a folder it is waiting."""
    status = folder.status()
    state = status.get("state")
    known = JobState(state) if state in set(JobState) else JobState.WAITING
    return known, str(status.get("reason", ""))


def _quoted(path: str) -> str:
    """A path that Hydra's grammar reads literally."""
    escaped = path.replace("'", r"\'")
    return f"'{escaped}'"

"""Where the loop gets its jobs from: a list that is known from the start, or a search that thinks of one at a time."""

import time
from collections.abc import Sequence
from typing import Protocol

from unet_exp.sweep.job import Job, JobState

LOOK_AGAIN = 2.0
"""Seconds after which a job that another launch has is looked at again."""


class JobSource(Protocol):
    """Gives the next job when a slot is free, and is told how each one ended."""

    keeps_pruned: bool
    """Whether jobs that were ended early stay as they are; else they are continued."""

    @property
    def jobs(self) -> Sequence[Job]:
        """All jobs so far."""

    @property
    def exhausted(self) -> bool:
        """Whether no further job is to come; False as long as one that somebody else has at work may come back."""

    @property
    def succeeded(self) -> bool:
        """Whether all was done that was asked for."""

    def next_job(self) -> Job | None:
        """A job to look at, None if there is nothing to do at the moment; it stays open until it is taken."""

    def busy(self, job: Job) -> None:
        """Somebody else works in the folder of a job that was given out."""

    def take(self, job: Job) -> bool:
        """The folder of a job that was given out is locked; returns whether the job is still to be done."""

    def reason_to_prune(self, job: Job) -> str:
        """Why a running job should end now; empty: it should not."""

    def ended(self, job: Job) -> None:
        """A job that was taken has reached the state that it has now."""


class JobList:
    """A source whose jobs are all known.

    Args:
        jobs: All of them.
    """

    keeps_pruned = False

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self._open = list(jobs)
        self._looked: dict[str, float] = {}

    @property
    def exhausted(self) -> bool:
        """Whether every job was taken."""
        return not self._open

    @property
    def succeeded(self) -> bool:
        """Whether every job has finished."""
        return all(job.state is JobState.FINISHED for job in self.jobs)

    def next_job(self) -> Job | None:
        """The first open job that nobody else has at work, as far as that is known."""
        now = time.monotonic()
        return next((job for job in self._open if now >= self._looked.get(job.label, 0.0)), None)

    def busy(self, job: Job) -> None:
        """Look at it again a little later."""
        self._looked[job.label] = time.monotonic() + LOOK_AGAIN

    def take(self, job: Job) -> bool:
        """It is no longer open."""
        self._open.remove(job)
        return True

    def reason_to_prune(self, job: Job) -> str:  # noqa: ARG002
        """Every job of a list runs to its end."""
        return ""

    def ended(self, job: Job) -> None:
        """Its state says everything."""

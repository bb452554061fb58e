"""The loop of a sweep: as many jobs at a time as there are slots, each at most once, none forgotten."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unet_exp.errors import UserError
from unet_exp.run.lock import FolderLock
from unet_exp.run.signals import StopRequest
from unet_exp.sweep.display import Display
from unet_exp.sweep.job import Action, Job, JobState, next_action, recorded
from unet_exp.sweep.process import JobProcess, clean_environment, told_error
from unet_exp.sweep.records import JobRecord, write_sweep
from unet_exp.sweep.settings import SweepSettings
from unet_exp.sweep.slots import Slot
from unet_exp.sweep.source import JobSource

_PAUSE = 0.1
"""Seconds between two looks at the running processes."""
_KILLED = {-signal.SIGKILL: "killed by SIGKILL; if nobody did that, it was the system, out of memory"}


@dataclass
class _Running:
    job: Job
    slot: Slot
    process: JobProcess
    pruned: str = field(default="")
    """Why it was asked to end before the others."""


class Runner:
    """Runs the jobs of a sweep or a search. Several may work on the same folder at the same time.

    A job's folder is locked while it runs, by the job's own process too, so what the folder says is decided upon by
    one process only. Jobs that another launch has at work are waited for: it may be killed.

    Args:
        folder: The folder of the sweep.
        source: Says which jobs there are, and is told how they ended.
        slots: What they may use; so many run at a time.
        settings: What becomes of jobs that fail.
        display: What a person sees.
        flags: Options of Hydra's that every job gets.
    """

    def __init__(
        self,
        folder: Path,
        source: JobSource,
        slots: Sequence[Slot],
        settings: SweepSettings,
        display: Display,
        flags: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self._source = source
        self._free = list(slots)
        self._settings = settings
        self._display = display
        self._flags = flags
        self._running: list[_Running] = []
        self._stopping = False

    def run(self, request: StopRequest) -> None:
        """Run until every job has ended, or until a signal or a failure has stopped the sweep.

        Args:
            request: Set by the first SIGINT or SIGTERM; a second SIGINT raises KeyboardInterrupt here.
        """
        self._write("running")
        try:
            while self._running or not (self._stopping or self._source.exhausted):
                if request and not self._stopping:
                    self._stop(request.error().exit_code - 128)
                if not self._stopping:
                    self._start_jobs()
                self._prune()
                self._collect()
                self._display.update()
                time.sleep(_PAUSE)
        except BaseException:
            for running in self._running:
                running.process.send(signal.SIGKILL)
                running.job.state = JobState.INTERRUPTED
            raise
        finally:
            self._write(self._end_state(interrupted=bool(request) or bool(self._running)))

    def _end_state(self, *, interrupted: bool) -> str:
        if interrupted:
            return "interrupted"
        return "finished" if self._source.succeeded else "failed"

    def _stop(self, number: int) -> None:
        """Ask all running jobs to save their state and end."""
        self._stopping = True
        self._display.say(f"stopping {len(self._running)} running; they save their state (Ctrl-C again kills them)")
        for running in self._running:
            running.process.send(signal.Signals(number))

    def _start_jobs(self) -> None:
        while self._free:
            job = self._source.next_job()
            if job is None:
                return
            self._look_at(job)

    def _look_at(self, job: Job) -> None:
        """Start a job, find that nothing is to be done, or that somebody else is at it."""
        job.folder.path.mkdir(parents=True, exist_ok=True)
        lock = FolderLock.acquire(job.folder.path)
        if lock is None:
            self._source.busy(job)
            if job.state is not JobState.ELSEWHERE:
                job.state = JobState.ELSEWHERE
                self._display.ended(job)
            return
        if not self._source.take(job):
            lock.release()
            job.state, job.reason = recorded(job.folder)
            return
        keep_pruned = self._source.keeps_pruned
        action = next_action(job.folder, retry_failed=self._settings.retry_failed, keep_pruned=keep_pruned)
        if action is Action.SKIP:
            lock.release()
            self._settle(job, *recorded(job.folder))
            return
        self._start(job, action, lock)

    def _start(self, job: Job, action: Action, lock: FolderLock) -> None:
        slot = self._free.pop(0)
        environment = clean_environment(os.environ)
        environment |= slot.environment(job.processes, os.environ)
        environment.setdefault("WANDB_RUN_GROUP", self._folder.name)
        command = job.command(action, self._flags)
        job.ran = True
        job.state = JobState.RUNNING
        process = JobProcess(command, environment, job.folder.path, job.log, lock)
        JobRecord(job).write_start(process.pid)
        self._running.append(_Running(job, slot, process))
        self._display.started(job, slot, action)
        self._write("running")

    def _prune(self) -> None:
        """Ask jobs to end whose source has seen enough of them."""
        for running in self._running:
            if running.pruned or self._stopping:
                continue
            running.pruned = self._source.reason_to_prune(running.job)
            if running.pruned:
                running.process.send(signal.SIGTERM)

    def _collect(self) -> None:
        for running in list(self._running):
            code = running.process.exit_code()
            if code is None:
                continue
            job = running.job
            JobRecord(job).write_end(code)
            state, reason = self._outcome(running, code)
            self._running.remove(running)
            self._free.append(running.slot)
            running.process.release()
            self._settle(job, state, reason)
            if state is JobState.FAILED and self._settings.fail_fast and not self._stopping:
                self._stop(signal.SIGTERM)

    def _outcome(self, running: _Running, code: int) -> tuple[JobState, str]:
        """How a job ended; a status.json that it could not write itself is put right."""
        job = running.job
        state, reason = recorded(job.folder)
        if code == 0 and state is JobState.FINISHED:
            return state, ""
        if running.pruned and state is not JobState.FAILED:
            job.folder.write_status("pruned", running.pruned)
            return JobState.PRUNED, running.pruned
        if self._stopping and state is not JobState.FAILED:
            return JobState.INTERRUPTED, reason
        if state is not JobState.FAILED:
            reason = _reason(job, code)
            job.folder.write_status("failed", reason)
        return JobState.FAILED, reason

    def _settle(self, job: Job, state: JobState, reason: str) -> None:
        job.state, job.reason = state, reason
        self._display.ended(job)
        self._source.ended(job)
        self._write("running")

    def _write(self, state: str) -> None:
        write_sweep(self._folder, self._source.jobs, state)


def _reason(job: Job, code: int) -> str:
    """Why a job failed that could not say so itself."""
    if code < 0:
        return _KILLED.get(code, f"killed by {signal.Signals(-code).name}")
    told = told_error(job.log)
    return f"exit code {code}" if told is None else told


def make_sweep_folder(folder: Path) -> None:
    """Make the folder of a sweep, or find it.

    Raises:
        UserError: If nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the sweep folder {folder}: {error.strerror}. Set output_folder=...") from None

"""The loop of a sweep under SLURM: submits what is not finished and not queued, and watches it."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from unet_exp.errors import counted
from unet_exp.run.lock import FolderLock, NoLocksError
from unet_exp.run.signals import StopRequest
from unet_exp.sweep.display import Display
from unet_exp.sweep.job import Action, Job, JobState, next_action, recorded
from unet_exp.sweep.process import log_tail
from unet_exp.sweep.records import JobRecord, read_record, write_sweep
from unet_exp.sweep.settings import SweepSettings
from unet_exp.sweep.slurm import commands
from unet_exp.sweep.slurm.outcome import ended_state, has_started, telling_logs
from unet_exp.sweep.slurm.settings import SlurmSettings
from unet_exp.sweep.slurm.submission import job_name, slurm_output, submit

_AT_ONCE = 500
"""Jobs submitted together: each keeps a file open meanwhile, and many clusters limit arrays to 1000."""
_PAUSE = 0.2
_PATIENCE = 60.0
"""Seconds after its end in which the last processes of a job free its folder."""
_USUAL_REASONS = frozenset({"None", "Resources", "Priority", "JobArrayTaskLimit", "BeginTime", "Cleaning", "Prolog"})

Submit = Callable[[Sequence[Job], Path, SlurmSettings, Sequence[str]], list[str]]


class SlurmRunner:
    """Submits the jobs of a sweep and watches them. Several may do so for the same folder at the same time.

    A job's folder is locked while it is submitted and while it runs, and job.json keeps its id in SLURM meanwhile, so
    nothing is submitted twice. Jobs outlive this process: the same command finds them again.

    Args:
        folder: The folder of the sweep.
        jobs: All jobs.
        slurm: What each asks for.
        settings: What becomes of jobs that fail.
        display: What a person sees.
        flags: Options of Hydra's that every job gets.
        submitter: Hands jobs to SLURM and returns their ids.
    """

    def __init__(
        self,
        folder: Path,
        jobs: Sequence[Job],
        slurm: SlurmSettings,
        settings: SweepSettings,
        display: Display,
        flags: Sequence[str] = (),
        submitter: Submit = submit,
    ) -> None:
        self._folder = folder
        self._jobs = jobs
        self._slurm = slurm
        self._settings = settings
        self._display = display
        self._flags = flags
        self._submit = submitter
        self._open = list(jobs)
        self._ids: dict[str, str] = {}
        self._queue: dict[str, commands.QueueEntry] = {}
        self._gone: dict[str, float] = {}
        self._stopping = False
        self._asked = 0.0
        self._changed = time.monotonic()
        self._complaint = ""

    def run(self, request: StopRequest) -> bool:
        """Submit, and watch until every job has ended, or a signal or the settings end the watching.

        Args:
            request: Set by the first SIGINT or SIGTERM.

        Returns:
            Whether all jobs have ended.
        """
        self._attach()
        while self._open and not request:
            if not self._stopping:
                self._submit_open()
            if not self._slurm.wait:
                break
            self._observe()
            self._display.update()
            self._sleep(request)
        self._write(self._end_state())
        return not self._open

    @property
    def submitted(self) -> list[str]:
        """Ids of the jobs that have not ended."""
        return [self._ids[job.label] for job in self._open if job.label in self._ids]

    def _attach(self) -> None:
        """Find the jobs that an earlier launch has submitted and that have not ended."""
        known = {job.label: str(read_record(job.folder.path).get("slurm_id") or "") for job in self._jobs}
        queue = commands.job_queue(number for number in known.values() if number)
        for job in self._jobs:
            entry = queue.get(known[job.label])
            if entry is not None and not entry.ended and entry.name == job_name(self._folder):
                self._ids[job.label] = known[job.label]
                job.ran = True
        if self._ids:
            self._display.say(f"{counted(len(self._ids), 'job')} already in SLURM: {_ranges(self._ids.values())}")

    def _submit_open(self) -> None:
        """Submit jobs that are in nobody's hands; find those that have nothing to do."""
        waiting = iter([job for job in self._open if job.label not in self._ids])
        while chunk := list(islice(waiting, _AT_ONCE if self._slurm.array else 1)):
            with ExitStack() as locks:
                chosen = [job for job in chunk if self._is_to_submit(job, locks)]
                if chosen:
                    self._hand_over(chosen)

    def _is_to_submit(self, job: Job, locks: ExitStack) -> bool:
        job.folder.path.mkdir(parents=True, exist_ok=True)
        try:
            lock = FolderLock.acquire(job.folder.path)
        except NoLocksError:
            pass  # the ids in job.json are what is left
        else:
            if lock is None:
                self._elsewhere(job)
                return False
            locks.callback(lock.release)
        if next_action(job.folder, retry_failed=self._settings.retry_failed) is Action.SKIP:
            self._settle(job, *recorded(job.folder))
            return False
        return True

    def _elsewhere(self, job: Job) -> None:
        if job.state is not JobState.ELSEWHERE:
            job.state = JobState.ELSEWHERE
            self._display.ended(job)

    def _hand_over(self, jobs: Sequence[Job]) -> None:
        ids = self._submit(jobs, self._folder, self._slurm, self._flags)
        for job, number in zip(jobs, ids, strict=True):
            JobRecord(job).write_submission(number)
            self._ids[job.label] = number
            job.state, job.ran = JobState.QUEUED, True
        self._display.say(f"submitted   {counted(len(ids), 'job')}: {_ranges(ids)}")
        self._write("running")
        self._asked, self._changed = 0.0, time.monotonic()

    def _observe(self) -> None:
        """Ask SLURM, from time to time, and take note of what has changed."""
        now = time.monotonic()
        if now < self._asked + min(15.0, max(1.0, (now - self._changed) / 10)):
            return
        self._asked = now
        try:
            self._queue = commands.job_queue(self.submitted)
        except commands.SlurmUnavailableError as error:
            self._complain(f"{error}; asking again")
            return
        for job in [job for job in self._open if job.label in self._ids]:
            self._look_at(job, self._queue.get(self._ids[job.label]))
        self._explain_waiting()

    def _look_at(self, job: Job, entry: commands.QueueEntry | None) -> None:
        if entry is None or entry.ended:
            self._end(job, entry.state if entry else "")
            return
        self._gone.pop(job.label, None)
        runs = entry.state in ("RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING")
        state = JobState.RUNNING if runs else JobState.QUEUED
        if state is job.state:
            return
        again = job.state is JobState.RUNNING
        job.state, self._changed = state, time.monotonic()
        number = self._ids[job.label]
        if runs:
            self._tell(job, f"{number} on {entry.nodes}; {job.log}")
        elif again:
            self._tell(job, f"{number}: {recorded(job.folder)[1] or entry.reason}", "yellow")
        self._write("running")

    def _tell(self, job: Job, what: str, style: str = "") -> None:
        self._display.say(f"{job.state:<11} {job.label}  {job.varied}  ({what})", style)

    def _end(self, job: Job, slurm_state: str) -> None:
        """Note how a job has ended, as soon as its folder is free."""
        number = self._ids[job.label]
        first_seen = self._gone.setdefault(job.label, time.monotonic())
        try:
            lock = FolderLock.acquire(job.folder.path)
        except NoLocksError:
            lock = None
        else:
            if lock is None:
                if time.monotonic() - first_seen > _PATIENCE:  # it has found another training there, and left
                    del self._ids[job.label]
                    self._elsewhere(job)
                return
        code = commands.exit_code(number)
        JobRecord(job).write_end(code)
        output, started = slurm_output(self._folder, number), has_started(job, number)
        state, reason = ended_state(job, slurm_state, code, output, started=started)
        if lock is not None:
            lock.release()
        del self._ids[job.label]
        self._changed = time.monotonic()
        job.ran = job.ran and started
        self._settle(job, state, reason)
        if state is JobState.FAILED:
            self._after_failure(telling_logs(job, output, started=started), output)

    def _after_failure(self, logs: Sequence[Path], output: Path) -> None:
        for log in logs:
            self._display.say(f"    {log.name}:")
            for line in log_tail(log, 8):
                self._display.say(f"      {line}")
        self._display.say(f"    what SLURM said: {output}")
        if self._settings.fail_fast and not self._stopping:
            self._stopping = True
            self._open = [other for other in self._open if other.label in self._ids]
            if self._open:
                self._display.say(f"cancelling {counted(len(self._open), 'job')}; they save their state")
                commands.cancel(self.submitted)

    def _settle(self, job: Job, state: JobState, reason: str) -> None:
        job.state, job.reason = state, reason
        self._open.remove(job)
        self._display.ended(job)
        self._write("running")

    def _explain_waiting(self) -> None:
        """Say once why jobs wait, if it is not simply for their turn."""
        entries = [self._queue.get(number) for number in self.submitted]
        reasons = Counter(e.reason for e in entries if e and e.state == "PENDING" and e.reason not in _USUAL_REASONS)
        self._complain(
            "; ".join(f"{counted(n, 'job')} held by SLURM: {reason}" for reason, n in sorted(reasons.items()))
        )

    def _complain(self, text: str) -> None:
        if text and text != self._complaint:
            self._display.say(text, "yellow")
        self._complaint = text

    def _sleep(self, request: StopRequest) -> None:
        end = time.monotonic() + 1.0
        while time.monotonic() < end and not request and self._open:
            time.sleep(_PAUSE)

    def _end_state(self) -> str:
        if self._open:
            return "detached"
        return "finished" if all(job.state is JobState.FINISHED for job in self._jobs) else "failed"

    def _write(self, state: str) -> None:
        write_sweep(self._folder, self._jobs, state)


def _ranges(ids: Iterable[str]) -> str:
    """Ids for people, arrays by their first and last job."""
    arrays: dict[str, list[int]] = {}
    for number in ids:
        master, _, index = number.partition("_")
        arrays.setdefault(master, []).extend([int(index)] if index else [])
    return ", ".join(f"{m}_[{min(i)}-{max(i)}]" if len(i) > 1 else f"{m}_{i[0]}" if i else m for m, i in arrays.items())

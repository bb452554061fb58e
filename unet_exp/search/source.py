"""Trials as jobs of the loop: who asks for the next one, and what is told when one ends.

A trial is open (RUNNING in the study) until it is told. It belongs to the launch that holds the lock of its run folder;
one whose folder nobody has locked is anybody's, so what a killed launch leaves behind is taken up by the next.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence

from optuna.trial import FrozenTrial, TrialState

from unet_exp.errors import counted
from unet_exp.run.history import read_history
from unet_exp.search.settings import SearchSettings
from unet_exp.search.space import Value
from unet_exp.search.study import SearchStudy, run_of
from unet_exp.sweep.job import Job, JobState, recorded
from unet_exp.sweep.progress import read_progress
from unet_exp.sweep.source import LOOK_AGAIN

_WATCH = 1.0
"""Seconds between two looks at the history of a running trial."""

JobMaker = Callable[[Mapping[str, Value]], Job]
"""Makes the job of a trial from its values; the same values give the same folder."""


class TrialSource:
    """Asks the study for trials until enough have finished.

    Args:
        study: The study, shared with other launches.
        settings: When the search ends.
        make_job: Makes the job of a trial.
        jobs: Empty; gets the jobs of this launch.
        say: Prints a line.
    """

    keeps_pruned = True

    def __init__(
        self,
        study: SearchStudy,
        settings: SearchSettings,
        make_job: JobMaker,
        jobs: list[Job],
        say: Callable[[str], None],
    ) -> None:
        self.jobs = jobs
        self.on_change: Callable[[], None] = lambda: None
        """Called when a trial has begun or ended."""
        self.trouble = ""
        """Why the search has stopped before its end."""
        self._study = study
        self._wanted = settings.trials_wanted(study.grid_size())
        self._settings = settings
        self._make_job = make_job
        self._say = say
        self._known: dict[str, Job] = {}
        self._mine: dict[str, Job] = {}
        self._failed: dict[str, Mapping[str, Value]] = {}
        self._in_a_row = 0
        self._over = False
        self._later: dict[str, float] = {}
        self._pause = 0.0

    @property
    def exhausted(self) -> bool:
        """Whether enough trials have ended, or it makes no sense to go on."""
        return self._over or bool(self.trouble)

    @property
    def succeeded(self) -> bool:
        """Whether as many trials as wanted have finished or were pruned."""
        return self._over and not self.trouble

    def next_job(self) -> Job | None:
        """The job of a trial that a dead launch has left, else of a new one."""
        if self.exhausted or time.monotonic() < self._pause:
            return None
        with self._study.alone():
            job = self._left_behind_or_new()
        if job is None:
            self._pause = time.monotonic() + LOOK_AGAIN
        return job

    def _left_behind_or_new(self) -> Job | None:
        while not self.exhausted:
            running, done = self._study.open_trials(), self._study.counted()
            self._see_what_others_have_ended({run_of(trial) for trial in running})
            if done >= self._wanted:
                self._over = True
                return None
            if done + sum(run_of(trial) in self._mine for trial in running) >= self._wanted:
                return None
            for trial in running:
                job = self._job(trial)
                if job.label not in self._mine and time.monotonic() >= self._later.get(job.label, 0.0):
                    return job
            if done + len(running) >= self._wanted:
                return None
            new = self._study.ask(list(self._failed.values()))
            if new is None:
                self._end_of_grid(running, done)
                return None
            job = self._job(new)
            if job.label in self._failed:  # it would fail again
                self._tell(job, TrialState.FAIL, reason=job.reason)
                self._count_failure(job)
            elif job.label not in self._mine:  # else it gets the score of the same job, which is running
                return job
        return None

    def _see_what_others_have_ended(self, running: set[str]) -> None:
        for job in self.jobs:
            if job.state is JobState.ELSEWHERE and job.label not in running:
                job.state, job.reason = recorded(job.folder)

    def _job(self, trial: FrozenTrial) -> Job:
        made = self._make_job(dict(trial.params))
        job = self._known.setdefault(made.label, made)
        if all(job is not known for known in self.jobs):
            self.jobs.append(job)
        self._study.assign(trial, job.label)
        return job

    def _end_of_grid(self, running: Sequence[FrozenTrial], done: int) -> None:
        if running:
            return  # one of them may fail
        if self._failed and done < self._wanted:
            missing = counted(len(self._failed), "point")
            self.trouble = f"{missing} of the grid failed; the same command tries again."
        self._over = True

    def busy(self, job: Job) -> None:
        """Another launch has this trial at work; look again later, it may die."""
        self._later[job.label] = time.monotonic() + LOOK_AGAIN

    def take(self, job: Job) -> bool:
        """The trial is this launch's, unless another one has ended it in the meantime."""
        if not self._study.open_trials(job.label):
            return False
        self._mine[job.label] = job
        self.on_change()
        return True

    def reason_to_prune(self, job: Job) -> str:
        """Report new epochs to the study, and ask its pruner."""
        if self._settings.pruner == "none" or time.monotonic() < self._later.get(job.label, 0.0):
            return ""
        self._later[job.label] = time.monotonic() + _WATCH
        scores = scores_by_epoch(job)
        total = read_progress(job).total
        with self._study.alone():
            for trial in self._study.open_trials(job.label):
                if not scores.keys() - trial.intermediate_values.keys():
                    continue
                self._study.report(trial, scores)
                epochs = max(scores)
                if (total is None or epochs < total) and self._study.should_prune(trial):
                    return f"worse than others after {counted(epochs, 'epoch')} ({scores[epochs]:.4f})"
        return ""

    def ended(self, job: Job) -> None:
        """Tell the study; a trial that was interrupted stays open."""
        self._mine.pop(job.label, None)
        self._pause = 0.0
        if job.state is JobState.FINISHED:
            self._finished(job)
        elif job.state is JobState.PRUNED:
            self._tell(job, TrialState.PRUNED)
        elif job.state is JobState.FAILED:
            self._tell(job, TrialState.FAIL, reason=job.reason)
            self._count_failure(job)

    def _finished(self, job: Job) -> None:
        score = score_of(job)
        if score is None:
            job.state, job.reason = JobState.FAILED, f"its history has no {job.config['monitor']}"
            self._say(f"{job.state:<11} {job.label}  {job.reason}")
            self._tell(job, TrialState.FAIL, reason=job.reason)
            self._count_failure(job)
            return
        self._in_a_row = 0
        before = self._best()
        self._tell(job, TrialState.COMPLETE, score)
        if before is None or score > before:
            self._say(f"best so far: {job.config['monitor']} {score:.4f} with {job.varied}")

    def _best(self) -> float | None:
        values = [t.value for t in self._study.trials() if t.state is TrialState.COMPLETE and t.value is not None]
        return max(values, default=None)

    def _tell(self, job: Job, state: TrialState, score: float | None = None, reason: str = "") -> None:
        """All open trials with these values get the same answer, which is none if another launch was faster."""
        scores = {} if state is TrialState.FAIL else scores_by_epoch(job)
        with self._study.alone():
            for trial in self._study.open_trials(job.label):
                self._study.report(trial, scores)
                self._study.tell(trial, state, score, reason)
        self.on_change()

    def _count_failure(self, job: Job) -> None:
        self._failed.setdefault(job.label, self._values(job))
        self._in_a_row += 1
        if self._in_a_row >= self._settings.max_failures_in_a_row:
            self.trouble = (
                f"{self._in_a_row} trials in a row have failed, the last one with: {job.reason or 'no reason'}. "
                f"Correct what is wrong and repeat the command (hydra.sweeper.max_failures_in_a_row allows more)."
            )

    def _values(self, job: Job) -> Mapping[str, Value]:
        return next((t.params for t in self._study.trials() if run_of(t) == job.label), {})


def score_of(job: Job) -> float | None:
    """What a finished job counts for: the monitored score of the weights that stand for it, None without one."""
    scores = scores_by_epoch(job)
    counted = [scores[max(scores)]] if scores and job.config.get("scored_checkpoint") == "last" else scores.values()
    return max((score for score in counted if math.isfinite(score)), default=None)


def scores_by_epoch(job: Job) -> dict[int, float]:
    """The monitored score of a job by number of epochs, counted from 1."""
    monitor = job.config["monitor"]
    rows = read_history(job.folder.history_file)
    return {int(row["epoch"]) + 1: row[monitor] for row in rows if monitor in row}

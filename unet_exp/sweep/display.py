"""What a person sees of a sweep: a live table on a terminal, lines in a log, a table at the end."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from unet_exp.errors import counted
from unet_exp.sweep.job import Action, Job, JobState
from unet_exp.sweep.process import log_tail
from unet_exp.sweep.progress import duration, read_progress
from unet_exp.sweep.slots import Slot

_COLORS = {
    JobState.FINISHED: "green",
    JobState.FAILED: "red",
    JobState.RUNNING: "cyan",
    JobState.INTERRUPTED: "yellow",
    JobState.PRUNED: "magenta",
}
_REFRESH = 1.0
"""Seconds between two readings of the running jobs' histories."""


class Display:
    """Tells about the jobs of a sweep.

    Args:
        jobs: All of them.
        console: Where to; None: stdout.
    """

    def __init__(self, jobs: Sequence[Job], console: Console | None = None) -> None:
        self._jobs = jobs
        # In a file, lines may be long: nothing is cut there.
        self._console = console or Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 300)
        self._live = self._make_live()
        self._drawn = 0.0

    def _make_live(self) -> Live | None:
        if not self._console.is_terminal:
            return None
        return Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)

    def __enter__(self) -> "Display":
        self._context: AbstractContextManager[object] = self._live or nullcontext()
        self._context.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(None, None, None)

    def say(self, line: str, style: str = "") -> None:
        """Print a line, above the live table where there is one."""
        self._drawn = 0.0  # what is printed is true of the table below it soon after
        self._console.print(Text(line, style))

    def show(self, content: RenderableType) -> None:
        """Print a table or the like."""
        self._console.print(content)

    def beginning(self, folder: Path, slots: Sequence[Slot]) -> None:
        """Say what will run, and on what."""
        self.overview(folder)
        self.say_slots(slots)

    def say_slots(self, slots: Sequence[Slot]) -> None:
        """Say how many jobs run at a time, and on what."""
        threads, gpus = counted(slots[0].threads, "CPU thread"), len(slots[0].gpus)
        share = f"{counted(gpus, 'GPU')} and {threads}" if gpus else threads
        self.say(f"{counted(len(slots), 'job')} at a time, each with {share}")

    def overview(self, folder: Path) -> None:
        """Say how many jobs there are."""
        states = Counter(job.state for job in self._jobs)
        earlier = f", {states[JobState.FINISHED]} of them finished earlier" if states[JobState.FINISHED] else ""
        self.say(f"Sweep of {counted(len(self._jobs), 'job')}{earlier}: {folder}")

    def started(self, job: Job, slot: Slot, action: Action) -> None:
        """Say that a job starts or goes on."""
        verb = "continued" if action is Action.CONTINUE else "started"
        self.say(f"{verb:<11} {self._name(job)}  ({slot}; {job.log})")

    def ended(self, job: Job) -> None:
        """Say how a job ended; of a failure, what it last wrote."""
        line = f"{job.state:<11} {self._name(job)}"
        progress = read_progress(job)
        if job.state is JobState.FINISHED:
            best = "" if progress.best is None else f"  {job.config['monitor']} {progress.best:.4f}"
            line += best
        elif job.reason:
            line += f"  {job.reason}"
        self.say(line, _COLORS.get(job.state, ""))
        if job.state is JobState.FAILED and job.ran:
            for text in log_tail(job.log):
                self.say(f"    {text}")
            self.say(f"    the whole log: {job.log}")

    def update(self) -> None:
        """Redraw the live table, at most every second."""
        if self._live is None or time.monotonic() - self._drawn < _REFRESH:
            return
        self._drawn = time.monotonic()
        self._live.update(self._live_view(), refresh=True)

    def ending(self, seconds: float) -> None:
        """Print the final table."""
        self._console.print(_table(self._jobs, final=True))
        self.say(f"{_counts(self._jobs)}; {duration(seconds)}")

    def _live_view(self) -> RenderableType:
        running = [job for job in self._jobs if job.state in (JobState.RUNNING, JobState.ELSEWHERE)]
        return Group(_table(running, final=False), Text(_counts(self._jobs)))

    def _name(self, job: Job) -> str:
        return f"{job.label}  {job.varied}".rstrip()


def _counts(jobs: Sequence[Job]) -> str:
    states = Counter(job.state for job in jobs)
    return f"{counted(len(jobs), 'job')}: " + ", ".join(f"{states[s]} {s}" for s in JobState if states[s])


def _table(jobs: Sequence[Job], *, final: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    monitors = {job.config["monitor"] for job in jobs}
    score = monitors.pop() if len(monitors) == 1 else "score"
    for column in ("job", "state", "epoch", f"best {score}" if final else score):
        table.add_column(column, no_wrap=True)
    table.add_column("" if final else "time left", no_wrap=True)
    table.add_column("varied", overflow="fold")
    for job in jobs:
        progress = read_progress(job)
        value = progress.best if final else progress.last
        state = Text(job.state, _COLORS.get(job.state, ""))
        shown = "" if value is None else f"{value:.4f}"
        last = ("" if job.ran or job.state is not JobState.FINISHED else "earlier") if final else progress.time_text
        table.add_row(job.label, state, progress.epoch_text, shown, last, job.varied)
    return table

"""One launch of a sweep, from its combinations to the report."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from unet_exp.run.identity import model_name
from unet_exp.run.signals import stop_request
from unet_exp.sweep.display import Display
from unet_exp.sweep.job import Composed, Job, JobState, make_job, varied_overrides
from unet_exp.sweep.runner import Runner, make_sweep_folder
from unet_exp.sweep.settings import SweepSettings
from unet_exp.sweep.slots import Slot
from unet_exp.sweep.source import JobList


def run_sweep(
    folder: Path,
    composed: Sequence[Composed],
    overrides: Sequence[Sequence[str]],
    slots: Sequence[Slot],
    settings: SweepSettings,
    flags: Sequence[str] = (),
) -> bool:
    """Run what is not finished yet, and compare all runs.

    Args:
        folder: The folder of the sweep, absolute.
        composed: Configuration and choices of every combination.
        overrides: Command line of every combination.
        slots: What the jobs may use; so many run at a time.
        settings: What becomes of jobs that fail, and whether there is a report.
        flags: Options of Hydra's that every job gets.

    Returns:
        Whether a job has failed.

    Raises:
        RunInterruptedError: If a signal has stopped it; every job's state is saved.
        KeyboardInterrupt: If a second Ctrl-C has killed the jobs.
    """
    start = time.monotonic()
    make_sweep_folder(folder)
    jobs = distinct_jobs(folder, composed, overrides)
    with Display(jobs) as display, stop_request() as request:
        display.beginning(folder, slots)
        if len(jobs) < len(composed):
            display.say(f"{len(composed) - len(jobs)} combinations differ from others in no result and are left out")
        Runner(folder, JobList(jobs), slots, settings, display, flags).run(request)
    display.ending(time.monotonic() - start)
    if request:
        raise request.error()
    return conclude(folder, jobs, settings, display)


def distinct_jobs(folder: Path, composed: Sequence[Composed], overrides: Sequence[Sequence[str]]) -> list[Job]:
    """One job for each identity: combinations that differ in a machine setting only are the same run."""
    jobs: dict[str, Job] = {}
    for (config, names), given, varied in zip(composed, overrides, varied_overrides(overrides), strict=True):
        job = make_job(folder, config, names, given, varied)
        jobs.setdefault(job.label, job)
    return list(jobs.values())


def conclude(folder: Path, jobs: Sequence[Job], settings: SweepSettings, display: Display) -> bool:
    """Write the report of a sweep whose jobs have all ended; returns whether one has failed."""
    finished = {model_name(job.names) for job in jobs if job.state is JobState.FINISHED}
    if settings.report and finished:
        # Not before it has finished: the report refuses a baseline that it does not know.
        _write_report(folder, display, settings.baseline if settings.baseline in finished else None)
    display.say(f"table of all jobs: {folder / 'sweep.csv'}")
    return any(job.state is not JobState.FINISHED for job in jobs)


def _write_report(folder: Path, display: Display, baseline: str | None) -> None:
    """Compare the runs in a process of its own: whatever happens there, the results stay."""
    command = [sys.executable, "-m", "unet_exp.report", f"runs='{folder}'"]
    if baseline is not None:
        command.append(f"baseline={baseline}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n  ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-5:])
        display.say(f"the report could not be written:\n  {last}\n  again: {' '.join(command[1:])}", "yellow")
    else:
        display.say(f"report: {folder / 'report' / 'report.html'}")

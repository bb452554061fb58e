"""What a person sees, and how far the jobs are said to be."""

import io

import pytest
from rich.console import Console

from tests.sweep.jobs import job
from unet_exp.run.history import write_history
from unet_exp.sweep.display import Display
from unet_exp.sweep.job import JobState
from unet_exp.sweep.progress import duration, read_progress


def with_history(made, epochs):
    rows = [{"epoch": n, "step": 10 * (n + 1), "seconds": 30.0, "val/dice": 0.5 - 0.1 * n} for n in range(epochs)]
    write_history(made.folder.history_file, rows)
    return made


@pytest.mark.parametrize(
    ("trainer", "epochs", "expected"),
    [
        ({"max_epochs": 10, "max_steps": -1}, 2, ("2/10", 240)),
        ({"max_epochs": 10, "max_steps": 55}, 2, ("2/6", 120)),
        ({"max_epochs": -1, "max_steps": 55}, 2, ("2/6", 120)),
        ({"max_epochs": -1, "max_steps": -1}, 2, ("2/?", None)),
        ({"max_epochs": None, "max_steps": -1}, 2, ("2/?", None)),
        ({"max_epochs": 10, "max_steps": -1}, 0, ("0/10", None)),
        ({"max_epochs": 2, "max_steps": -1}, 2, ("2/2", 0)),
    ],
)
def test_progress(trainer, epochs, expected, tmp_path):
    made = with_history(job(tmp_path, "a"), epochs)
    made.config = {**made.config, "trainer": trainer}
    progress = read_progress(made)
    assert (progress.epoch_text, progress.seconds_left) == expected
    assert progress.best == (0.5 if epochs else None)
    assert progress.last == (pytest.approx(0.5 - 0.1 * (epochs - 1)) if epochs else None)


@pytest.mark.parametrize(("seconds", "text"), [(3.4, "3 s"), (59.9, "1:00 min"), (185, "3:05 min"), (8040, "2:14 h")])
def test_durations_are_readable(seconds, text):
    assert duration(seconds) == text


def test_a_terminal_has_a_live_table_that_disappears(tmp_path):
    jobs = [with_history(job(tmp_path, "a"), 1), job(tmp_path, "b"), job(tmp_path, "c")]
    jobs[0].state, jobs[1].state = JobState.RUNNING, JobState.FINISHED
    file = io.StringIO()
    with Display(jobs, Console(file=file, force_terminal=True, width=120, height=40)) as display:
        display.update()
        shown = file.getvalue()
    for part in ("seed=a", "1/4", "0.5000", "1:30 min", "3 jobs: 1 waiting, 1 running, 1 finished"):
        assert part in shown
    assert "seed=b" not in shown  # has no need to be looked at
    assert file.getvalue().endswith("\x1b[2K")  # erased


def test_a_log_has_lines_only_and_the_final_table(tmp_path):
    jobs = [with_history(job(tmp_path, "a"), 2), job(tmp_path, "b")]
    jobs[0].state, jobs[1].state = JobState.FINISHED, JobState.FAILED
    file = io.StringIO()
    with Display(jobs, Console(file=file, width=200)) as display:
        display.update()
        assert file.getvalue() == ""
        display.ending(90)
    lines = file.getvalue().splitlines()
    assert lines[0].split()[:6] == ["job", "state", "epoch", "best", "val/dice", "varied"]
    assert lines[1].split() == ["a", "finished", "2/4", "0.5000", "earlier", "seed=a"]
    assert lines[-1] == "2 jobs: 1 finished, 1 failed; 1:30 min"
    assert "\x1b" not in file.getvalue()

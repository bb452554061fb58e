"""The loop: every job once, failures alone, two launches together, stopping; with real processes."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest
from rich.console import Console

from tests.sweep.jobs import calls, job
from unet_exp.run.lock import FolderLock
from unet_exp.run.signals import StopRequest, stop_request
from unet_exp.sweep import process, source
from unet_exp.sweep.display import Display
from unet_exp.sweep.job import JobState
from unet_exp.sweep.runner import Runner
from unet_exp.sweep.settings import SweepSettings
from unet_exp.sweep.slots import make_slots
from unet_exp.sweep.source import JobList


def run(sweep, jobs, n_jobs=2, gpus=(), request=None, **settings):
    """Run the jobs; returns what a person saw."""
    sweep.mkdir(exist_ok=True)
    seen = io.StringIO()
    slots = make_slots(n_jobs, None, list(gpus))
    with Display(jobs, Console(file=seen, width=300)) as display:
        Runner(sweep, JobList(jobs), slots, SweepSettings(**settings), display).run(
            StopRequest() if request is None else request
        )
    return seen.getvalue()


def states(jobs):
    return [str(made.state) for made in jobs]


def table(sweep):
    with (sweep / "sweep.csv").open(newline="") as file:
        return {row["run"]: row for row in csv.DictReader(file)}


def test_a_failure_is_alone_and_told_with_its_last_words(tmp_path):
    jobs = [job(tmp_path, "a"), job(tmp_path, "b", "print('cosmic'); raise RuntimeError('ray')"), job(tmp_path, "c")]
    seen = run(tmp_path, jobs, n_jobs=1)
    assert states(jobs) == ["finished", "failed", "finished"]
    assert "cosmic" in seen
    assert "RuntimeError: ray" in seen
    assert str(jobs[1].log) in seen
    assert seen.index("RuntimeError") < seen.index("finished    c")  # at once, not at the end
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["state"] == "failed"
    assert status["counts"] == {"finished": 2, "failed": 1}
    assert json.loads(jobs[1].folder.status_file.read_text())["state"] == "failed"
    assert table(tmp_path)["b"]["state"] == "failed"
    assert json.loads((jobs[1].folder.path / "job.json").read_text())["exit_code"] == 1


def test_the_reason_is_the_message_of_the_job(tmp_path):
    jobs = [job(tmp_path, "a", "sys.exit('noise\\nerror: 2 mistakes:\\n  lr: no\\n  mpp: no')")]
    run(tmp_path, jobs)
    assert jobs[0].reason == "2 mistakes: lr: no mpp: no"


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL; .*out of memory"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("sys.exit(0)", "exit code 0"),  # it says it is running, but it is not
        ("os.kill(os.getpid(), signal.SIGTERM)", "exit code 143"),  # by somebody else
    ],
)
def test_a_job_that_could_not_say_so_has_failed_too(what, reason, tmp_path):
    jobs = [job(tmp_path, "a", what)]
    run(tmp_path, jobs)
    assert states(jobs) == ["failed"]
    assert re.search(reason, jobs[0].reason)


def test_the_second_launch_runs_what_is_missing(tmp_path):
    crash = "if not Path(folder, 'seen').exists(): Path(folder, 'seen').touch(); sys.exit(3)"
    run(tmp_path, [job(tmp_path, "a"), job(tmp_path, "b", crash), job(tmp_path, "c")])
    first = calls(tmp_path)
    jobs = [job(tmp_path, "a"), job(tmp_path, "b", crash), job(tmp_path, "c"), job(tmp_path, "d")]
    seen = run(tmp_path, jobs)
    assert sorted(line.split()[0] for line in calls(tmp_path)[len(first) :]) == ["b", "d"]
    assert states(jobs) == ["finished"] * 4
    assert "finished    a" in seen
    assert json.loads((jobs[1].folder.path / "job.json").read_text())["attempts"] == 2


def test_failed_jobs_can_be_left_alone(tmp_path):
    jobs = [job(tmp_path, "a", "sys.exit(3)")]
    run(tmp_path, jobs)
    again = [job(tmp_path, "a")]
    run(tmp_path, again, retry_failed=False)
    assert states(again) == ["failed"]
    assert len(calls(tmp_path)) == 1
    run(tmp_path, again := [job(tmp_path, "a")])
    assert states(again) == ["finished"]


def test_fail_fast_stops_what_runs_and_starts_nothing(tmp_path):
    jobs = [
        job(tmp_path, "a", "time.sleep(0.5); sys.exit(3)"),
        job(tmp_path, "b", "time.sleep(60)"),
        job(tmp_path, "c"),
    ]
    run(tmp_path, jobs, fail_fast=True)
    assert states(jobs) == ["failed", "interrupted", "waiting"]
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "failed"
    assert table(tmp_path)["c"]["state"] == "waiting"


def test_jobs_never_share_a_gpu(tmp_path):
    hold = (
        "taken = folder.parent / ('gpu' + os.environ['CUDA_VISIBLE_DEVICES'])\n"
        "taken.mkdir()\n"  # fails if another job has it
        "time.sleep(0.2)\n"
        "taken.rmdir()"
    )
    jobs = [job(tmp_path, f"j{number}", hold) for number in range(6)]
    run(tmp_path, jobs, n_jobs=None, gpus=["0", "1"])
    assert states(jobs) == ["finished"] * 6
    assert {line.split("gpu=")[1] for line in calls(tmp_path)} == {"0", "1"}


def test_a_job_of_another_launch_is_waited_for_and_not_run_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "LOOK_AGAIN", 0.2)
    both = [[job(tmp_path, f"j{n}", "time.sleep(0.3)") for n in range(5)] for _ in range(2)]
    launches = [threading.Thread(target=run, args=(tmp_path, jobs, 1)) for jobs in both]
    for launch in launches:
        launch.start()
    for launch in launches:
        launch.join()
    assert sorted(line.split()[0] for line in calls(tmp_path)) == [f"j{n}" for n in range(5)]
    assert states(both[0]) == states(both[1]) == ["finished"] * 5
    assert {sum(made.ran for made in jobs) for jobs in both} != {0, 5}  # they have shared the work


def test_a_job_whose_other_launch_dies_is_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "LOOK_AGAIN", 0.1)
    jobs = [job(tmp_path, "a"), job(tmp_path, "b")]
    jobs[0].folder.path.mkdir()
    other = FolderLock.acquire(jobs[0].folder.path)
    threading.Timer(1.0, other.release).start()
    seen = run(tmp_path, jobs, n_jobs=1)
    assert states(jobs) == ["finished", "finished"]
    assert [line.split()[0] for line in calls(tmp_path)] == ["b", "a"]
    assert "elsewhere   a" in seen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_jobs_which_save_their_state(number, tmp_path):
    jobs = [job(tmp_path, name, "time.sleep(60)") for name in "abc"]
    request = StopRequest()
    threading.Thread(target=ask_when, args=(tmp_path, 2, lambda: request.handle(number, None))).start()
    seen = run(tmp_path, jobs, request=request)
    assert states(jobs) == ["interrupted", "interrupted", "waiting"]
    assert "2 running" in seen
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "interrupted"
    again = [job(tmp_path, name) for name in "abc"]
    run(tmp_path, again)
    assert states(again) == ["finished"] * 3


def ask_when(sweep, running, ask):
    while len(calls(sweep)) < running:
        time.sleep(0.02)
    ask()


def test_a_second_ctrl_c_kills(tmp_path):
    deaf = "signal.signal(signal.SIGINT, signal.SIG_IGN); (folder / 'pid').write_text(str(os.getpid())); time.sleep(60)"
    jobs = [job(tmp_path, "a", deaf)]

    def press_twice():
        while not (jobs[0].folder.path / "pid").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    with stop_request() as request:
        threading.Thread(target=press_twice).start()
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, jobs, request=request)
    assert_dies(int((jobs[0].folder.path / "pid").read_text()))
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "interrupted"


def assert_dies(pid):
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if subprocess.run(["ps", "-o", "stat=", str(pid)], capture_output=True, text=True).stdout.startswith("Z"):
            return  # dead, but nobody has asked for its exit code
        time.sleep(0.05)
    raise AssertionError(f"{pid} lives")


def test_what_a_job_leaves_running_is_killed(tmp_path, monkeypatch):
    """Rank 1 waits forever for a rank 0 that has died."""
    monkeypatch.setattr(process, "_GRACE", 0.5)
    leave = "import subprocess; (folder / 'pid').write_text(str(subprocess.Popen(['sleep', '60']).pid)); sys.exit(3)"
    jobs = [job(tmp_path, "a", leave)]
    run(tmp_path, jobs)
    assert states(jobs) == ["failed"]
    assert_dies(int((jobs[0].folder.path / "pid").read_text()))


def test_rows_of_other_commands_in_the_folder_are_kept(tmp_path):
    run(tmp_path, [job(tmp_path, "a")])
    run(tmp_path, [job(tmp_path, "b")])
    rows = table(tmp_path)
    assert {name: row["state"] for name, row in rows.items()} == {"a": "finished", "b": "finished"}
    assert rows["a"]["overrides"] == "seed=a"
    assert rows["a"]["model"] == "unet"


def test_the_log_keeps_every_attempt_and_the_tail_is_of_the_last(tmp_path):
    run(tmp_path, [job(tmp_path, "a", "print('first'); sys.exit(3)")])
    run(tmp_path, [made := job(tmp_path, "a", "print('second'); sys.exit(3)")])
    assert "first" in made.log.read_text()
    assert process.log_tail(made.log) == ["second"]
    assert process.log_tail(tmp_path / "none") == []


def test_a_state_that_nobody_knows_is_no_reason_to_stop(tmp_path):
    made = job(tmp_path, "a")
    made.folder.path.mkdir()
    made.folder.status_file.write_text("[1")
    run(tmp_path, [made])
    assert made.state is JobState.FINISHED

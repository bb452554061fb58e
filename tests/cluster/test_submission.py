"""What is submitted, and that nothing is submitted twice; with stand-ins for SLURM's commands."""

import json
import pickle
from pathlib import Path

import pytest

from tests.cluster.fake_commands import FakeCommands
from tests.sweep.jobs import job
from unet_exp.errors import UserError
from unet_exp.run.lock import FolderLock
from unet_exp.run.signals import StopRequest
from unet_exp.sweep.display import Display
from unet_exp.sweep.job import JobState
from unet_exp.sweep.records import change_record, read_record
from unet_exp.sweep.settings import SweepSettings
from unet_exp.sweep.slurm.outcome import ended_state
from unet_exp.sweep.slurm.runner import SlurmRunner
from unet_exp.sweep.slurm.settings import SlurmSettings
from unet_exp.sweep.slurm.submission import submit


@pytest.fixture
def fake(tmp_path, monkeypatch) -> FakeCommands:
    commands = FakeCommands(tmp_path / "bin")
    monkeypatch.setenv("PATH", commands.path)
    return commands


@pytest.fixture
def sweep(tmp_path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    return folder


def made_jobs(sweep: Path, *names: str, state: str | None = None):
    jobs = [job(sweep, name) for name in names]
    for each in jobs:
        each.folder.path.mkdir(exist_ok=True)
        if state:
            each.folder.status_file.write_text(json.dumps({"state": state, "reason": "why"}))
    return jobs


def test_the_batch_script(fake, sweep, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("SLURM_JOB_ID", "9")  # submitted from inside a job
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    settings = SlurmSettings(
        partition="gpu",
        account="me",
        nodes=2,
        gpus_per_node=4,
        tasks_per_node=4,
        cpus_per_task=8,
        mem_gb=1.5,
        timeout_min=90,
        signal_delay_s=60,
        array_parallelism=2,
        setup=["module load cuda"],
        additional_parameters={"nice": 100},
    )
    assert submit(made_jobs(sweep, "a", "b", "c"), sweep, settings) == ["70_0", "70_1", "70_2"]
    script = (fake.folder / "sbatch.script").read_text()
    lines = [line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH --")]
    options = dict(line.partition("=")[::2] for line in lines)
    expected = {
        "array": "0-2%2",
        "partition": "gpu",
        "account": "me",
        "nodes": "2",
        "gpus-per-node": "4",
        "ntasks-per-node": "4",
        "cpus-per-task": "8",
        "mem": "1536M",
        "time": "90",
        "signal": "USR2@60",
        "nice": "100",
        "requeue": "",
        "open-mode": "append",
        "job-name": "unet_exp-study",
    }
    assert expected.items() <= options.items()
    assert "wckey" not in options
    assert script.index("module load cuda") < script.index("srun")
    assert "--kill-on-bad-exit=1 --cpus-per-task=8" in script
    environment = (fake.folder / "sbatch.env").read_text().splitlines()
    assert "SLURM_CONF=/etc/slurm.conf" in environment
    assert not [line for line in environment if line.startswith(("RANK=", "SLURM_JOB_ID="))]


def test_the_task_is_importable_and_knows_both_commands(fake, sweep):
    from submitit.core.utils import DelayedSubmission

    (a,) = made_jobs(sweep, "a")
    assert submit([a], sweep, SlurmSettings(timeout_min=10, signal_delay_s=60, requeues=3)) == ["70"]
    (file,) = sweep.glob("slurm/70_submitted.pkl")
    delayed = DelayedSubmission.load(file)
    assert delayed.function.__module__ == "unet_exp.sweep.slurm.task"
    (task,) = delayed.args
    assert task.commands.keys() == {"start", "continue"}
    assert (task.folder, task.tasks, task.requeues, task.warned_after) == (str(a.folder.path), 1, 3, 540)
    assert pickle.loads(pickle.dumps(task)) == task


def test_what_sbatch_refuses_is_said_once(fake, sweep, capfd):
    fake.answer("sbatch", "", code=1, stderr="sbatch: error: Batch job submission failed: Invalid account")
    with pytest.raises(UserError, match=r"SLURM has refused the jobs:\n  sbatch: error: .* Invalid account$"):
        submit(made_jobs(sweep, "a"), sweep, SlurmSettings())
    assert "sbatch" not in capfd.readouterr().err


def launched(sweep: Path, jobs, slurm: SlurmSettings | None = None, **settings) -> SlurmRunner:
    with Display(jobs) as display:
        runner = SlurmRunner(sweep, jobs, slurm or SlurmSettings(wait=False), SweepSettings(**settings), display)
        runner.run(StopRequest())
    return runner


def test_a_second_launch_submits_nothing_that_is_queued(fake, sweep, capsys):
    launched(sweep, made_jobs(sweep, "a", "b"))
    assert [read_record(sweep / name)["slurm_id"] for name in "ab"] == ["70_0", "70_1"]
    fake.answer("squeue", "70_0|RUNNING|None|unet_exp-study|n0\n70_1|PENDING|Resources|unet_exp-study|")
    fake.answer("sbatch", "Submitted batch job 71")
    runner = launched(sweep, made_jobs(sweep, "a", "b", "c"))
    assert len(fake.calls("sbatch")) == 2
    assert sorted(runner.submitted) == ["70_0", "70_1", "71"]  # only the new one
    assert "2 jobs already in SLURM: 70_[0-1]" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    ["70_0|COMPLETED|None|unet_exp-study|n0", "70_0|TIMEOUT|None|unet_exp-study|n0", "70_0|RUNNING|None|other|n0", ""],
    ids=["ended", "timed out", "the id of somebody else's job", "forgotten"],
)
def test_what_slurm_has_no_more_is_submitted_again(line, fake, sweep):
    launched(sweep, made_jobs(sweep, "a"))
    fake.answer("squeue", line)
    launched(sweep, made_jobs(sweep, "a"))
    assert len(fake.calls("sbatch")) == 2


def test_finished_failed_and_occupied_jobs_are_not_submitted(fake, sweep):
    jobs = made_jobs(sweep, "a", state="finished") + made_jobs(sweep, "b", state="failed") + made_jobs(sweep, "c")
    lock = FolderLock.acquire(sweep / "c")
    try:
        launched(sweep, jobs, retry_failed=False)
    finally:
        lock.release()
    assert fake.calls("sbatch") == []
    assert [each.state for each in jobs] == [JobState.FINISHED, JobState.FAILED, JobState.ELSEWHERE]


def test_singly(fake, sweep):
    launched(sweep, made_jobs(sweep, "a", "b"), SlurmSettings(wait=False, array=False))
    assert len(fake.calls("sbatch")) == 2
    assert "--array" not in (fake.folder / "sbatch.script").read_text()


def test_watching_ends_with_the_jobs_and_a_failure_cancels_the_others(fake, sweep, capsys):
    jobs = made_jobs(sweep, "a", "b")
    fake.answer("squeue", "70_0|FAILED|None|unet_exp-study|n0\n70_1|CANCELLED|None|unet_exp-study|n1")
    fake.answer("scontrol", "JobId=70 ExitCode=1:0 Restarts=0")
    change_record(sweep / "a", decision={"attempt": "69_0.0.0"})  # an earlier one
    jobs[0].log.write_text("error: something of old\n")
    (sweep / "slurm").mkdir()
    (sweep / "slurm" / "70_0_0_log.out").write_text("bash: module: command not found\nerror: no such file\n")
    launched(sweep, jobs, SlurmSettings(), fail_fast=True)
    assert fake.calls("scancel") == ["70_1"]
    assert [(each.state, each.reason) for each in jobs] == [
        (JobState.FAILED, "no such file"),
        (JobState.INTERRUPTED, "cancelled"),
    ]
    assert read_record(sweep / "a")["exit_code"] == 1
    assert json.loads((sweep / "status.json").read_text())["state"] == "failed"
    shown = capsys.readouterr().out
    assert f"what SLURM said: {sweep}/slurm/70_0_0_log.out" in shown
    assert "bash: module: command not found" in shown
    assert "something of old" not in shown


def test_the_log_of_the_process_that_failed_is_shown(fake, sweep, capsys):
    jobs = made_jobs(sweep, "a")
    fake.answer("squeue", "70|FAILED|None|unet_exp-study|n[0-1]")
    fake.answer("scontrol", "JobId=70 ExitCode=1:0")
    with Display(jobs) as display:
        runner = SlurmRunner(sweep, jobs, SlurmSettings(), SweepSettings(), display, submitter=starting(jobs))
        runner.run(StopRequest())
    shown = capsys.readouterr().out
    assert "RuntimeError: cosmic ray" in shown
    assert "all is well" not in shown


def starting(jobs):
    """Instead of a submission: the jobs start at once, and the second process of each fails."""

    def submitter(chosen, *_):
        for each in jobs:
            change_record(each.folder.path, decision={"attempt": "70.0.0"})
            (each.folder.path / "log-1.txt").write_text("RuntimeError: cosmic ray\n")
            (each.folder.path / "log-2.txt").write_text("all is well\n")
        return ["70" for _ in chosen]

    return submitter


@pytest.mark.parametrize(
    ("recorded", "slurm", "code", "state", "reason"),
    [
        ("finished", "COMPLETED", 0, "finished", "why"),
        ("failed", "FAILED", 1, "failed", "why"),
        ("interrupted", "FAILED", 140, "interrupted", "why"),
        ("running", "TIMEOUT", 0, "interrupted", "time limit, before it could save"),
        ("running", "NODE_FAIL", 0, "interrupted", "its node has failed"),
        ("running", "OUT_OF_MEMORY", 0, "failed", "out of memory"),
        ("running", "FAILED", 137, "failed", "exit code 137"),
        ("running", "", None, "failed", "it ended without a word"),
        ("running", "FAILED", 75, "failed", "another training was at work"),
    ],
)
def test_how_a_job_has_ended(recorded, slurm, code, state, reason, sweep):
    (a,) = made_jobs(sweep, "a", state=recorded)
    found, said = ended_state(a, slurm, code, sweep / "none.out")
    assert (found, said.startswith(reason)) == (state, True), said
    assert a.folder.status()["state"] == state

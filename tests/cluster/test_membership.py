"""A training inside a SLURM job: its signal, its place in the queue, its lock, what Lightning is told."""

import json
import os
import signal
import threading
import time

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment

from tests.cluster.fake_commands import FakeCommands
from tests.sweep.test_job import folder as run_folder
from unet_exp.errors import RunInterruptedError
from unet_exp.run.lock import LOCK_VARIABLE, FolderLock, inherited_lock
from unet_exp.run.signals import StopRequest
from unet_exp.sweep.job import Action
from unet_exp.sweep.membership import FOLDER_VARIABLE, SLURM_VARIABLE
from unet_exp.sweep.records import read_record
from unet_exp.sweep.slurm import task as slurm_task
from unet_exp.sweep.slurm.cluster import cluster_plugins
from unet_exp.sweep.slurm.membership import SlurmMembership, requeued_when_warned, warning_signals
from unet_exp.sweep.slurm.task import IN_USE, SlurmTask


@pytest.fixture
def blocked():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    yield
    while signal.SIGUSR2 in signal.sigpending():
        signal.sigwait({signal.SIGUSR2})
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_blocked_signal_asks_to_stop(blocked):
    request, other = StopRequest([signal.SIGUSR2]), StopRequest()
    assert not request
    signal.raise_signal(signal.SIGUSR2)
    assert request
    assert not other
    assert request.error().signal_name == "SIGUSR2"
    assert request.error().exit_code == 128 + signal.SIGUSR2


def test_a_process_that_is_asked_by_another_one_waits_for_its_own_signal(blocked):
    request = StopRequest([signal.SIGUSR2])
    main = threading.get_ident()
    timer = threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGUSR2))
    timer.start()
    assert request.error().signal_name == "SIGUSR2"  # not SIGTERM, after which nobody would requeue the job
    timer.join()


@pytest.fixture
def member(tmp_path, monkeypatch):
    """Become process 0 of a SLURM job; returns its folder and the commands."""
    fake = FakeCommands(tmp_path / "bin")
    folder = run_folder(tmp_path / "run", "interrupted", checkpoint=True)
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", fake.path)
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder.path))

    def become(*, warned_in: float = 0.0, requeues: int = 2) -> None:
        variable = SlurmMembership("12_3", 1, requeues, time.time() + warned_in).variable()
        monkeypatch.setenv(SLURM_VARIABLE, variable[SLURM_VARIABLE])

    become()
    return folder, fake, become


def stopped_by(name: str) -> None:
    with requeued_when_warned():
        raise RunInterruptedError(name, 140)


def test_the_time_limit_requeues_so_many_times(member):
    folder, fake, _ = member
    for count in (1, 2):
        with pytest.raises(RunInterruptedError):
            stopped_by("SIGUSR2")
        assert folder.status()["reason"] == f"time limit ({count} of 2 times); requeued"
    with pytest.raises(RunInterruptedError):
        stopped_by("SIGUSR2")
    assert fake.calls("scontrol") == ["requeue 12_3"] * 2
    assert "it was requeued 2 times" in folder.status()["reason"]
    assert folder.status()["state"] == "interrupted"


def test_a_preemption_does_not_count(member):
    folder, fake, become = member
    become(warned_in=3600, requeues=0)
    with pytest.raises(RunInterruptedError):
        stopped_by("SIGUSR2")
    assert fake.calls("scontrol") == ["requeue 12_3"]
    assert folder.status()["reason"] == "preempted (SIGUSR2); requeued"


def test_a_preempted_job_with_a_grace_time_requeues_itself(member):
    folder, fake, become = member
    become(requeues=0)
    fake.answer("scontrol", "JobId=12 JobState=RUNNING PreemptTime=2026-11-28T08:06:14")
    with pytest.raises(RunInterruptedError):
        stopped_by("SIGTERM")
    assert fake.calls("scontrol") == ["--oneliner show job 12_3", "requeue 12_3"]
    assert folder.status()["reason"] == "preempted (SIGTERM); requeued"


def test_scancel_does_not_requeue(member):
    _, fake, _ = member
    fake.answer("scontrol", "JobId=12 JobState=COMPLETING PreemptTime=None")
    with pytest.raises(RunInterruptedError):
        stopped_by("SIGTERM")
    assert fake.calls("scontrol") == ["--oneliner show job 12_3"]


def test_a_refused_requeue_is_told(member):
    folder, fake, _ = member
    fake.answer("scontrol", "", code=1, stderr="Job is not requeueable")
    with pytest.raises(RunInterruptedError):
        stopped_by("SIGUSR2")
    assert folder.status()["reason"].endswith("could not be requeued: Job is not requeueable")


def test_the_other_processes_leave_without_an_error_that_would_kill_the_first(member, monkeypatch):
    _, fake, _ = member
    monkeypatch.setenv("SLURM_PROCID", "1")
    with pytest.raises(SystemExit) as end:
        stopped_by("SIGUSR2")
    assert end.value.code == 0
    assert fake.calls("scontrol") == []


def test_outside_of_slurm_jobs_nothing_is_different(monkeypatch):
    monkeypatch.delenv(SLURM_VARIABLE, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    assert warning_signals() == ()
    with pytest.raises(RunInterruptedError):
        stopped_by("SIGUSR2")


def test_the_lock_is_taken_over_and_released(tmp_path, monkeypatch):
    lock = FolderLock.acquire(tmp_path)
    monkeypatch.setenv(LOCK_VARIABLE, str(lock.descriptor))
    with inherited_lock(tmp_path):
        assert FolderLock.acquire(tmp_path) is None
        assert LOCK_VARIABLE not in os.environ
        assert not os.get_inheritable(lock.descriptor)
    again = FolderLock.acquire(tmp_path)
    assert again is not None
    again.release()


def test_lightning_is_told_of_slurm_only_where_there_is_a_task_per_device(member, monkeypatch):
    for name, value in {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NAME": "x"}.items():
        monkeypatch.setenv(name, value)
    (plugin,) = cluster_plugins()  # one task, although the variables look like two
    assert type(plugin) is LightningEnvironment
    monkeypatch.setenv(SLURM_VARIABLE, SlurmMembership("12", 2, 1, 0.0).variable()[SLURM_VARIABLE])
    (plugin,) = cluster_plugins()
    assert type(plugin) is SLURMEnvironment
    assert plugin.auto_requeue is False
    monkeypatch.delenv(SLURM_VARIABLE)
    assert type(cluster_plugins()[0]) is LightningEnvironment  # a single training inside an allocation
    for name in ("TORCHELASTIC_RUN_ID", "GROUP_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "1")
    assert cluster_plugins() == []  # torchrun


def task_of(folder) -> SlurmTask:
    commands = {"start": ["python", "start"], "continue": ["python", "continue"]}
    return SlurmTask(str(folder.path), commands, 2, 1, 2, 60.0, "study")


@pytest.fixture
def becoming(monkeypatch, blocked):
    """Notes what a task becomes instead of replacing the tests by it."""
    became = []
    monkeypatch.setattr(slurm_task, "_become", lambda *arguments: became.append(arguments))
    for name, value in {"SLURM_JOB_ID": "15", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}.items():
        monkeypatch.setenv(name, value)
    handler = signal.getsignal(signal.SIGTERM)
    yield became
    signal.signal(signal.SIGTERM, handler)


def test_all_tasks_take_the_decision_of_the_first(member, becoming, monkeypatch):
    folder, _, _ = member
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.setenv("RANK", "7")
    slurm_task.run_task(task_of(folder))
    folder.last_checkpoint.unlink()  # would be another decision
    monkeypatch.setenv("SLURM_PROCID", "1")
    slurm_task.run_task(task_of(folder))
    (first, environment, log), (second, others, other_log) = becoming
    assert first == second == ["python", "continue"]
    assert environment["MASTER_PORT"] == others["MASTER_PORT"]
    assert environment[FOLDER_VARIABLE] == others[FOLDER_VARIABLE] == str(folder.path)
    assert "RANK" not in environment
    assert environment["SLURM_JOB_ID"] == "15"
    assert json.loads(environment[SLURM_VARIABLE])["job_id"] == "12_3"
    assert (log.name, other_log.name) == ("log.txt", "log-1.txt")
    assert read_record(folder.path)["slurm_id"] == "12_3"
    assert folder.status()["state"] == "running"
    assert LOCK_VARIABLE not in others
    os.close(int(environment[LOCK_VARIABLE]))


def test_a_decision_of_an_earlier_attempt_is_not_taken(member, becoming, monkeypatch):
    folder, _, _ = member
    slurm_task.run_task(task_of(folder))
    os.close(int(becoming[0][1][LOCK_VARIABLE]))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setattr(slurm_task, "_DECISION_PATIENCE", 0.5)
    with pytest.raises(SystemExit):
        slurm_task.run_task(task_of(folder))


def test_a_finished_job_is_not_trained_again(member, becoming):
    folder, _, _ = member
    folder.write_status("finished")
    slurm_task.run_task(task_of(folder))
    assert becoming == []
    assert read_record(folder.path)["decision"]["action"] == Action.SKIP
    assert FolderLock.acquire(folder.path) is not None


def test_a_job_leaves_a_folder_alone_in_which_another_training_works(member, becoming, monkeypatch):
    folder, _, _ = member
    lock = FolderLock.acquire(folder.path)
    monkeypatch.setattr(slurm_task, "_LOCK_PATIENCE", 0.5)
    with pytest.raises(SystemExit) as end:
        slurm_task.run_task(task_of(folder))
    lock.release()
    assert end.value.code == IN_USE
    assert folder.status()["state"] == "interrupted"  # untouched

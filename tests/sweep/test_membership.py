"""A job knows the sweep that has started it, and nothing of other trainings."""

import os
import signal
import subprocess
import sys

import pytest

from tests.sweep.test_runner import assert_dies
from unet_exp.sweep.membership import job_folder
from unet_exp.sweep.process import clean_environment


def test_nothing_of_another_training_reaches_a_job():
    rank = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_PROCID", "TORCHELASTIC_RUN_ID"]
    rank += ["PL_GLOBAL_SEED", "NODE_RANK", "GROUP_RANK", "UNET_EXP_RUN_FOLDER", "UNET_EXP_JOB_FOLDER"]
    kept = {"PATH": "/bin", "UNET_EXP_STORE": "/store", "WANDB_MODE": "offline", "RANKING": "1"}
    assert clean_environment(kept | dict.fromkeys(rank, "1")) == kept


def test_a_single_training_has_no_job_folder(monkeypatch):
    monkeypatch.delenv("UNET_EXP_JOB_FOLDER", raising=False)
    assert job_folder() is None


_CHILD = "from unet_exp.sweep.membership import end_with_sweep; end_with_sweep(); print('in', flush=True); "
_SWEEP = (
    "import os, subprocess, sys\n"
    "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], env={**os.environ, **{\n"
    "    'UNET_EXP_LAUNCHER_PID': str(os.getpid()), 'LOCAL_RANK': sys.argv[2]}})\n"
    "print(child.pid, flush=True)\n"
    "child.wait()\n"
)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux'")
@pytest.mark.parametrize(("rank", "deaf"), [("0", False), ("1", True)])
def test_a_job_ends_when_its_sweep_is_killed(rank, deaf):
    """Rank 0 is asked, and can save its state; the others, which may hang in a collective operation, are killed."""
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " if deaf else ""
    command = [
        sys.executable,
        "-c",
        _SWEEP,
        f"{_CHILD}{ignore}print('deaf', flush=True); import time; time.sleep(60)",
        rank,
    ]
    sweep = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    child = int(sweep.stdout.readline())
    assert [sweep.stdout.readline() for _ in range(2)] == ["in\n", "deaf\n"]
    sweep.kill()
    sweep.wait()
    assert_dies(child)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux'")
def test_a_job_whose_sweep_is_dead_already_does_not_begin():
    environment = {**os.environ, "UNET_EXP_LAUNCHER_PID": "1"}
    environment.pop("LOCAL_RANK", None)
    done = subprocess.run([sys.executable, "-c", _CHILD], env=environment, capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stdout == ""

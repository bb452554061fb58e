"""Stopping: the state is saved, the status is truthful, the exit code is not 0, and it can be continued."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.runs import tiny
from unet_exp.run.history import read_history
from unet_exp.run.resume import resumed_arguments

SETTINGS = (
    "trainer.max_epochs=3",
    "data.patches_per_epoch=64",
    "loader.num_workers=1",
    "scheduler=poly",
    "callback=ema",
)


def start(arguments: list[str], cwd: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "unet_exp.train", *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(path_pattern: str, root: Path, process: subprocess.Popen) -> Path:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = list(root.glob(path_pattern))
        if found:
            return found[0]
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError(f"{path_pattern} did not appear")


def last_weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
@pytest.mark.parametrize("to_group", [False, True], ids=["process", "process group"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_the_run_can_be_continued_exactly(bcss_root, tmp_path, number, code, to_group):
    settings = tiny(bcss_root, tmp_path / "stopped", *SETTINGS)
    process = start(settings, tmp_path)
    history = wait_for("stopped/*/*/history.csv", tmp_path, process)  # the first epoch is over
    (os.killpg if to_group else os.kill)(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "the state is saved" in errors
    assert "Traceback" not in errors
    folder = history.parent
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "interrupted"
    assert status["reason"] == f"stopped by {number.name}"
    assert len(read_history(history)) < 3

    resumed = start([f"resume={folder}"], tmp_path)
    _, errors = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, errors
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    whole = start(tiny(bcss_root, tmp_path / "whole", *SETTINGS), tmp_path)
    _, errors = whole.communicate(timeout=120)
    assert whole.returncode == 0, errors
    (reference,) = (tmp_path / "whole").glob("*/*")
    assert [row["epoch"] for row in read_history(history)] == [0, 1, 2]
    expected = last_weights(reference)
    assert all(torch.equal(value, expected[name]) for name, value in last_weights(folder).items())


@pytest.mark.slow
def test_two_processes_train_one_run(bcss_root, tmp_path):
    ddp = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=1", "loader.batch_size=2")
    process = start(tiny(bcss_root, tmp_path / "out", *ddp), tmp_path)
    output, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    (folder,) = (tmp_path / "out").glob("*/*")  # one folder for both
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    assert "cpu x 2" in output
    assert json.loads((folder / "metrics.json").read_text())["val"]["images"] == 2


def test_resume_alone_repeats_the_command_line_of_the_run(tmp_path):
    saved = ["data=bcss", "data.root=/a b", "model=unet", "+trainer.profiler=simple"]
    (tmp_path / "environment.json").write_text(json.dumps({"overrides": saved}))
    arguments = resumed_arguments([f"resume={tmp_path}", "trainer.profiler=null", "trainer.max_epochs=9"])
    assert arguments == [
        "data=bcss",
        "data.root=/a b",
        "model=unet",
        f"resume={tmp_path}",
        "trainer.profiler=null",
        "trainer.max_epochs=9",
    ]


def test_arguments_without_resume_stay_as_they_are():
    assert resumed_arguments(["data=bcss", "resume=null"]) == ["data=bcss", "resume=null"]


def test_resume_of_a_folder_that_is_no_run_is_explained(run_module, tmp_path):
    done = run_module("unet_exp.train", f"resume={tmp_path}")
    assert done.returncode == 1
    assert done.stderr.startswith("error: resume: ")
    assert "Traceback" not in done.stderr

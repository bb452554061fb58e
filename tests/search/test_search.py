"""Searches as a user starts them: kill -9, Ctrl-C, two launches at once, pruning, a trial that fails."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, heed_ctrl_c
from tests.runs import tiny
from unet_exp.run.history import read_history

pytestmark = pytest.mark.slow


class Search:
    """A search with tiny trainings."""

    def __init__(self, root: Path, folder: Path, *overrides: str):
        self.output = folder / "outputs"
        self.folder = self.output / "study"
        fast = ("trainer.max_epochs=3", "data.patches_per_epoch=24", "test_after_training=false", "name=study")
        self.arguments = ["-m", "hydra/sweeper=optuna", *tiny(root, self.output, *fast), *overrides]

    def start(self, *more: str) -> subprocess.Popen:
        self.output.parent.mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-m", "unet_exp.train", *self.arguments, *more],
            cwd=self.output.parent,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=heed_ctrl_c,
        )

    def launch(self, *more: str) -> tuple[int, str]:
        process = self.start(*more)
        output, _ = process.communicate(timeout=600)
        return process.returncode, output

    def rows(self) -> list[dict[str, str]]:
        with (self.folder / "search.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def attempts(self) -> list[int]:
        return sorted(json.loads(file.read_text())["attempts"] for file in self.folder.glob("*/job.json"))

    def wait_for_histories(self, number: int, process: subprocess.Popen) -> None:
        """Until so many trials have an epoch behind them."""
        deadline = time.monotonic() + 240
        while len(list(self.folder.glob("*/history.csv"))) < number:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def wait_for_quiet(self) -> None:
        """Until the trainings have noticed that their launch is dead."""
        deadline = time.monotonic() + 120
        pids = [json.loads(file.read_text())["pid"] for file in self.folder.glob("*/job.json")]
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_search_that_is_killed_and_stopped_is_completed_by_two_launches_at_once(bcss_root, tmp_path):
    search = Search(
        bcss_root,
        tmp_path,
        "hydra.sweeper.n_trials=6",
        "optim.lr=tag(log,interval(1e-3,1e-1))",
        "loss=choice(dice_ce,focal)",
    )
    first = search.start()
    search.wait_for_histories(2, first)
    first.kill()
    first.wait()
    search.wait_for_quiet()

    second = search.start("hydra.launcher.n_jobs=2")
    search.wait_for_histories(3, second)
    second.send_signal(signal.SIGINT)
    output, _ = second.communicate(timeout=120)
    assert second.returncode == 130, output
    assert "Traceback" not in output
    assert "continued" in output  # what the killed launch has left

    both = [search.start() for _ in range(2)]
    outputs = [process.communicate(timeout=600)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    rows = search.rows()
    assert [row["state"] for row in rows] == ["finished"] * 6
    assert len({row["run"] for row in rows}) == 6
    for row in rows:
        history = read_history(search.folder / row["run"] / "history.csv")
        assert [epoch["epoch"] for epoch in history] == [0, 1, 2]  # every epoch once, whoever has trained it
        assert float(row["score"]) == max(epoch["val/dice"] for epoch in history)
        overrides = json.loads((search.folder / row["run"] / "job.json").read_text())["overrides"]
        assert {f"optim.lr={row['optim.lr']}", f"loss={row['loss']}"} <= set(overrides)

    status = json.loads((search.folder / "status.json").read_text())
    assert status["counts"] == {"finished": 6}
    attempts = search.attempts()
    code, output = search.launch()
    assert code == 0
    assert search.attempts() == attempts  # nothing was left to do
    best = max(rows, key=lambda row: float(row["score"]))
    assert f"best: trial {best['trial']}, val/dice {float(best['score']):.4f}" in output
    assert f"optim.lr={best['optim.lr']} loss={best['loss']} name=study-best" in output


def test_a_bad_learning_rate_is_pruned_and_a_trial_that_fails_is_told(bcss_root, tmp_path):
    search = Search(
        bcss_root,
        tmp_path,
        "hydra.sweeper.sampler=grid",
        "hydra.sweeper.pruner=median",
        "hydra.sweeper.n_startup_trials=1",
        "hydra.sweeper.n_warmup_epochs=2",
        "data.patches_per_epoch=64",
        "trainer.max_epochs=12",
        "optim.lr=1e-2,1e-9,-1",  # the last one is refused by the training
    )
    code, output = search.launch()
    assert code == 1
    assert [row["state"] for row in search.rows()] == ["finished", "pruned", "failed"], output
    good, bad, wrong = search.rows()
    assert 2 <= int(bad["epochs"]) < 12
    assert "Invalid learning rate: -1" in wrong["reason"]
    assert "1 point of the grid failed; the same command tries again" in output
    pruned = search.folder / bad["run"]
    assert json.loads((pruned / "status.json").read_text())["state"] == "pruned"
    assert (pruned / "checkpoints" / "last.ckpt").is_file()
    with (search.folder / "sweep.csv").open(newline="") as file:
        states = {row["run"]: row["state"] for row in csv.DictReader(file)}
    assert states == {good["run"]: "finished", bad["run"]: "pruned", wrong["run"]: "failed"}

    code, output = search.launch()
    assert code == 1
    assert Counter(search.attempts()) == {1: 2, 2: 1}  # only what failed was tried again
    assert Counter(row["state"] for row in search.rows()) == {"finished": 1, "pruned": 1, "failed": 2}

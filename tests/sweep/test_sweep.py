"""Sweeps as a user starts them: crashes, kill -9, Ctrl-C, DDP, a second launch beside the first."""

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


class Sweep:
    """A sweep of tiny trainings with a saboteur among their callbacks."""

    def __init__(self, root: Path, folder: Path, seeds: str, *overrides: str, plan: dict[str, str] | None = None):
        self.output = folder / "outputs"
        self.folder = self.output / "study"
        self.notes = folder / "notes"
        self.notes.mkdir()
        self.plan(plan or {})
        self.arguments = [
            *tiny(root, self.output, "trainer.max_epochs=1", "data.patches_per_epoch=8", "test_after_training=false"),
            "name=study",
            f"seed={seeds}",
            "+callback.saboteur._target_=tests.sweep.saboteur.Saboteur",
            f"+callback.saboteur.folder={self.notes}",
            "sweep.report=false",
            *overrides,
        ]

    def plan(self, plan: dict[str, str]) -> None:
        temporary = self.notes / "plan.tmp"
        temporary.write_text(json.dumps(plan))
        temporary.replace(self.notes / "plan.json")

    def start(self, *more: str, output=subprocess.PIPE, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "unet_exp.train", "-m", *self.arguments, *more],
            cwd=self.output.parent,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=heed_ctrl_c,
        )

    def launch(self, *more: str, **environment: str) -> tuple[int, str]:
        process = self.start(*more, **environment)
        output, _ = process.communicate(timeout=600)
        return process.returncode, output

    def trained(self) -> list[str]:
        file = self.notes / "trained.txt"
        return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []

    def trained_out(self) -> set[str]:
        """Seeds whose only epoch is over and saved."""
        folders = {json.loads(f.read_text())["seed"]: f.parent for f in self.folder.glob("*/job.json")}
        saved = {seed: run for seed, run in folders.items() if (run / "checkpoints" / "last.ckpt").is_file()}
        return {str(seed) for seed, run in saved.items() if read_history(run / "history.csv")}

    def states(self) -> dict[str, str]:
        with (self.folder / "sweep.csv").open(newline="") as file:
            return {row["seed"]: row["state"] for row in csv.DictReader(file)}

    def run_of(self, seed: int) -> Path:
        (found,) = (f.parent for f in self.folder.glob("*/job.json") if json.loads(f.read_text())["seed"] == seed)
        return found


def wait_until(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_sweep_with_crashes_whose_launcher_is_killed_is_completed_by_repeating_the_command(bcss_root, tmp_path):
    sweep = Sweep(bcss_root, tmp_path, "range(12)", "hydra.launcher.n_jobs=2", plan={"1": "raise", "3": "kill"})
    first = sweep.start()
    wait_until(lambda: sum(s == "finished" for s in states_now(sweep).values()) >= 3, first)
    first.kill()
    first.wait()
    before = states_now(sweep)
    assert "running" in before.values() or "failed" in before.values()
    finished = {seed for seed, state in before.items() if state == "finished"}
    wait_for_quiet(sweep)
    finished |= {seed for seed, state in states_now(sweep).items() if state == "finished"}  # at the last moment
    trained_out = sweep.trained_out()  # stopped before its scoring, if any: scored next, not trained

    sweep.plan({})
    known = len(sweep.trained())
    code, output = sweep.launch("sweep.report=true")
    assert code == 0, output
    expected = {str(seed) for seed in range(12)} - finished - trained_out
    assert set(sweep.trained()[known:]) == expected  # exactly the missing ones
    assert set(Counter(sweep.trained()[known:]).values()) == {1}
    assert sweep.states() == {str(seed): "finished" for seed in range(12)}
    assert (sweep.folder / "report" / "report.html").is_file()
    assert json.loads((sweep.folder / "status.json").read_text())["state"] == "finished"

    known = len(sweep.trained())
    code, output = sweep.launch()
    assert code == 0
    assert "12 jobs: 12 finished" in output
    assert len(sweep.trained()) == known  # nothing was left to do


def states_now(sweep: Sweep) -> dict[str, str]:
    """What the job folders say, whatever became of the sweep."""
    found = {}
    for file in sweep.folder.glob("*/job.json"):
        status = file.parent / "status.json"
        seed = str(json.loads(file.read_text())["seed"])
        found[seed] = json.loads(status.read_text())["state"] if status.exists() else "begun"
    return found


def wait_for_quiet(sweep: Sweep) -> None:
    """Until the jobs that were running have noticed that their sweep is dead."""
    pids = [json.loads(file.read_text())["pid"] for file in sweep.folder.glob("*/job.json")]
    deadline = time.monotonic() + 120
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_jobs_and_the_next_launch_continues_them(number, bcss_root, tmp_path):
    sweep = Sweep(bcss_root, tmp_path, "0,1", "trainer.max_epochs=2", plan={"0": "wait"})
    process = sweep.start()
    wait_until(lambda: list(sweep.folder.glob("*/history.csv")), process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "Traceback" not in output
    assert sweep.states() == {"0": "interrupted", "1": "waiting"}

    sweep.plan({})
    code, output = sweep.launch()
    assert code == 0, output
    assert "continued" in output
    assert (sweep.notes / "trained.txt").read_text().splitlines()[1] in ("0 from step 2", "0 from step 3")
    assert [row["epoch"] for row in read_history(sweep.run_of(0) / "history.csv")] == [0, 1]


def test_two_launches_share_the_work(bcss_root, tmp_path):
    sweep = Sweep(bcss_root, tmp_path, "0,1,2")
    both = [sweep.start(), sweep.start()]
    outputs = [process.communicate(timeout=600)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sorted(sweep.trained()) == ["0", "1", "2"]
    assert sweep.states() == dict.fromkeys("012", "finished")


def test_distributed_trainings_work_in_sweeps_and_crash_alone(bcss_root, tmp_path):
    """In Hydra's own sweeps, rank 1 replays the whole sweep, and a crash leaves the ranks in different jobs forever."""
    ddp = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "loader.batch_size=4", "trainer.max_epochs=1")
    sweep = Sweep(bcss_root, tmp_path, "0,1,2", *ddp, plan={"0/0": "raise", "1/1": "kill"})
    code, output = sweep.launch()
    assert code == 1
    assert sweep.states() == {"0": "failed", "1": "failed", "2": "finished"}, output
    assert "cosmic ray" in output
    assert Counter(sweep.trained()) == Counter(["0", "1", "2"])  # once each, whatever the number of ranks
    assert {path.name for path in sweep.output.iterdir()} == {"study"}  # no second sweep folder


def test_wandb_groups_the_runs_of_a_sweep_and_a_crash_is_a_crash(bcss_root, tmp_path):
    from tests.test_wandb_logger import of_type, sessions

    sweep = Sweep(bcss_root, tmp_path, "0,1", "logger=wandb", plan={"1": "raise"})
    code, output = sweep.launch(WANDB_MODE="offline", HOME=str(tmp_path))
    assert code == 1, output
    ends, groups, ids = [], [], set()
    for seed in (0, 1):
        (records,) = sessions(sweep.run_of(seed))
        (started,) = of_type(records, "run")
        groups.append(started["run_group"])
        ids.add(started["run_id"])
        ends.append(of_type(records, "exit")[0].get("exit_code", 0))
    assert groups == ["study", "study"]
    assert len(ids) == 2
    assert ends == [0, 1]

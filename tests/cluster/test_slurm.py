"""Sweeps on a real SLURM of two nodes: arrays, two-node training, requeueing, time limits, nodes that die."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.local_slurm import LocalSlurm
from tests.resuming import differences
from tests.sweep.test_sweep import Sweep
from tests.test_readme import arguments, on_tiny_data, several_trainings
from unet_exp.run.checkpoint_io import read_checkpoint
from unet_exp.run.history import read_history

pytestmark = pytest.mark.slow

RECORD = "+callback.record._target_=tests.cluster.callbacks.RecordInFolder"


class SlurmSweep(Sweep):
    """A sweep of tiny trainings under SLURM; what is shown goes to a file."""

    def __init__(self, slurm: LocalSlurm, root: Path, folder: Path, seeds: str, *overrides: str, plan=None):
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(root, folder, seeds, "data.patches_per_epoch=16", RECORD, *overrides, plan=plan)
        self.slurm = slurm
        self.shown = folder / "shown.txt"
        self.process: subprocess.Popen | None = None

    def submit(self, *launcher: str) -> None:
        """Start the launcher."""
        options = ["hydra/launcher=slurm", "hydra.launcher.timeout_min=10", "hydra.launcher.cpus_per_task=1"]
        arguments = [*options, *(f"{'+' * (o[0] == '+')}hydra.launcher.{o.lstrip('+')}" for o in launcher)]
        with self.shown.open("w") as file:
            self.process = self.start(*arguments, output=file, **self.slurm.environment)

    def end(self, seconds: float = 240) -> tuple[int, str]:
        """Wait for the launcher; exit code and what it has shown."""
        assert self.process is not None
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(self.evidence()) from None
        return code, self.shown.read_text()

    def wait(self, condition: Callable[[], bool], seconds: float = 150) -> None:
        """Wait until a condition holds, while the launcher runs."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process is None or self.process.poll() is None, self.evidence()
            assert time.monotonic() < deadline, self.evidence()
            time.sleep(0.1)

    def evidence(self) -> str:
        logs = [*self.folder.glob("*/log*.txt"), *self.folder.glob("slurm/*.out")]
        shown = [f"== {path}\n{path.read_text()[-2000:]}" for path in [self.shown, *logs]]
        return "\n".join([*shown, self.slurm.run("squeue", "--states=all"), self.slurm.logs()])

    def record(self, seed: int) -> dict:
        return json.loads((self.run_of(seed) / "job.json").read_text())

    def status(self, seed: int) -> dict:
        return json.loads((self.run_of(seed) / "status.json").read_text())

    def in_second_epoch(self, *seeds: int) -> bool:
        """Whether these wait in their second epoch, as the plan says."""
        folders = {json.loads(f.read_text())["seed"]: f.parent for f in self.folder.glob("*/job.json")}
        return all(seed in folders and (folders[seed] / "history.csv").exists() for seed in seeds)

    def starts(self, seed: int) -> list[str]:
        """From which steps it has trained, attempt by attempt."""
        lines = (self.notes / "trained.txt").read_text().splitlines()
        return [line.partition(" from step ")[2] for line in lines if line.split()[0] == str(seed)]


def test_a_sweep_of_four_jobs_of_which_one_crashes(slurm, bcss_root, tmp_path):
    sweep = SlurmSweep(slurm, bcss_root, tmp_path, "0,1,2,3", "loader.num_workers=0", plan={"2": "raise"})
    sweep.submit()
    code, shown = sweep.end()
    assert code == 1, sweep.evidence()
    assert sweep.states() == {"0": "finished", "1": "finished", "2": "failed", "3": "finished"}
    assert "cosmic ray" in shown
    assert f"the whole log: {sweep.run_of(2) / 'log.txt'}" in shown
    assert sorted(sweep.trained()) == ["0", "1", "2", "3"]
    for seed in (0, 1, 3):  # pitfall: with Lightning's own requeueing, jobs restored a neighbour's checkpoint
        checkpoint = read_checkpoint(sweep.run_of(seed) / "checkpoints" / "last.ckpt")
        assert checkpoint["unet_exp"]["config"]["seed"] == seed
        assert checkpoint["global_step"] == 4
    assert not list(tmp_path.rglob("hpc_ckpt*"))
    assert not [path for path in sweep.output.rglob(".*") if not path.name.startswith(".submission_file")]

    sweep.plan({})
    sweep.submit("wait=false")
    code, shown = sweep.end()
    assert code == 0
    assert "submitted   1 job" in shown
    sweep.submit()
    code, shown = sweep.end()
    assert code == 0, sweep.evidence()
    assert "submitted" not in shown
    assert sorted(sweep.trained()) == ["0", "1", "2", "2", "3"]
    assert sweep.states() == dict.fromkeys("0123", "finished")


def test_jobs_that_are_requeued_or_lose_their_node_continue_exactly(slurm, bcss_root, tmp_path):
    """One is requeued by hand, one loses its node, one reaches its time limit; the launcher itself is stopped once."""
    plan = {"0": "wait", "1": "wait", "2": "wait"}
    limited = SlurmSweep(slurm, bcss_root, tmp_path / "limited", "2", "trainer.max_epochs=2", plan=plan)
    limited.submit("timeout_min=2", "signal_delay_s=60", "+additional_parameters.nodelist=n0")
    sweep = SlurmSweep(slurm, bcss_root, tmp_path / "both", "0,1", "trainer.max_epochs=2", plan=plan)
    sweep.submit("cpus_per_task=3")  # one on each node
    sweep.wait(lambda: sweep.in_second_epoch(0, 1))

    sweep.process.send_signal(signal.SIGINT)
    code, shown = sweep.end(60)
    assert code == 128 + signal.SIGINT
    assert "To stop them, their state saved: scancel" in shown
    assert json.loads((sweep.folder / "status.json").read_text())["state"] == "detached"
    sweep.submit("cpus_per_task=3")
    sweep.wait(lambda: "2 jobs already in SLURM" in sweep.shown.read_text())

    ids = {seed: sweep.record(seed)["slurm_id"] for seed in (0, 1)}
    nodes = {seed: slurm.run("squeue", "-h", "-j", ids[seed], "-o", "%N") for seed in (0, 1)}
    lost = next(seed for seed in (0, 1) if nodes[seed] == "n1")
    slurm.kill_node("n1")
    slurm.run("scontrol", "update", "nodename=n1", "state=down", "reason=test")
    slurm.run("scontrol", "requeue", ids[1 - lost])
    sweep.plan({})
    slurm.start_node("n1")
    for number in ids.values():
        slurm.start_requeued(number)
    code, shown = sweep.end()
    assert code == 0, sweep.evidence()
    assert "submitted" not in shown
    assert [len(sweep.starts(seed)) for seed in (0, 1)] == [2, 2]
    assert sweep.starts(lost)[1] == "4"  # the end of its first epoch
    assert sweep.starts(1 - lost)[1] == "5"  # asked to stop, it has saved the middle of its second

    limited.wait(lambda: "time limit (1 of 10 times); requeued" in limited.status(2)["reason"])
    limited.plan({})
    slurm.start_requeued(limited.record(2)["slurm_id"])
    code, shown = limited.end()
    assert code == 0, limited.evidence()
    assert limited.starts(2)[1] == "5"
    assert limited.record(2)["attempts"] == 2

    whole = SlurmSweep(slurm, bcss_root, tmp_path / "whole", "0,1,2", "trainer.max_epochs=2")
    code, shown = whole.launch("hydra.launcher.n_jobs=2")
    assert code == 0, shown
    for seed, stopped in ((0, sweep), (1, sweep), (2, limited)):
        run, reference = stopped.run_of(seed), whole.run_of(seed)
        assert differences(run, run / "batches.txt", reference, reference / "batches.txt") == []


def test_a_preempted_job_saves_its_state_and_continues(slurm, bcss_root, tmp_path):
    sweep = SlurmSweep(slurm, bcss_root, tmp_path, "0", "trainer.max_epochs=2", plan={"0": "wait"})
    sweep.submit("partition=main", "+additional_parameters.nodelist=n0")
    sweep.wait(lambda: sweep.in_second_epoch(0))
    important = ("sbatch", "--parsable", "--partition=urgent", "--exclusive", "--nodelist=n0", "--output=/dev/null")
    slurm.run(*important, "--wrap=true")
    sweep.wait(lambda: sweep.status(0)["reason"] == "preempted (SIGTERM); requeued")
    sweep.plan({})
    slurm.start_requeued(sweep.record(0)["slurm_id"])
    code, _ = sweep.end()
    assert code == 0, sweep.evidence()
    assert sweep.starts(0) == ["0", "5"]
    assert sweep.record(0)["timeouts"] == 0


def test_two_nodes_train_together_and_continue_together(slurm, bcss_root, tmp_path):
    ddp = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1", "trainer.num_nodes=2", "trainer.max_epochs=2")
    sweep = SlurmSweep(
        slurm, bcss_root, tmp_path, "0,1", *ddp, "loader.batch_size=4", plan={"0": "wait", "1/1": "raise"}
    )
    sweep.submit("nodes=2")
    sweep.wait(lambda: sweep.in_second_epoch(0))
    slurm.run("scancel", "--signal=USR2", sweep.record(0)["slurm_id"])
    sweep.wait(lambda: sweep.status(0)["state"] == "interrupted")
    sweep.plan({})
    slurm.start_requeued(sweep.record(0)["slurm_id"])
    code, shown = sweep.end()
    assert sweep.states() == {"0": "finished", "1": "failed"}, sweep.evidence()  # a lost process ends its job only
    assert code == 1
    assert "cosmic ray" in shown
    assert "n[0-1]" in shown
    assert sweep.starts(0) == ["0", "5"]
    assert [row["epoch"] for row in read_history(sweep.run_of(0) / "history.csv")] == [0, 1]
    assert "x 2, 32-true" in (sweep.run_of(0) / "log.txt").read_text()
    assert "stopped by SIGUSR2" in (sweep.run_of(0) / "log.txt").read_text()
    assert (sweep.run_of(0) / "log-1.txt").exists()


def test_the_command_of_the_readme(slurm, tmp_path, monkeypatch, run_module):
    """The cluster of the tests has no GPU and another partition; shorter jobs wait less."""
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    given = on_tiny_data(arguments(several_trainings("hydra/launcher=slurm")), tmp_path)
    given = ["hydra.launcher.partition=main" if a.startswith("hydra.launcher.partition") else a for a in given]
    given = ["seed=0,1" if a.startswith("seed=") else a for a in given]
    mine = ["hydra.launcher.gpus_per_node=null", "hydra.launcher.cpus_per_task=1", "hydra.launcher.timeout_min=10"]
    done = run_module("unet_exp.train", *given, *mine, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(tmp_path.glob("outputs/*/*/metrics.json"))) == 4

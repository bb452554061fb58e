"""The same training on one, two and four processes: losses of all steps, and the weights at the end."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from tests.conftest import REPOSITORY
from tests.runs import tiny
from unet_exp.run.checkpoint_io import read_checkpoint
from unet_exp.run.folder import RunFolder
from unet_exp.run.history import read_history


class LossRecord(Callback):
    """Writes the loss of every step, as logged by the first process.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def on_train_batch_end(self, trainer, *_, **__) -> None:
        if trainer.is_global_zero:
            with self._path.open("a") as file:
                file.write(f"{float(trainer.callback_metrics['train/loss_step'])!r}\n")


def start_environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}


def start(arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "unet_exp.train", *arguments],
        cwd=folder,
        env=start_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )


def train_on(processes: int, root: Path, folder: Path, *overrides: str) -> tuple[list[float], RunFolder]:
    """Train; gives the losses of all steps and the run folder."""
    folder.mkdir(exist_ok=True)
    record = f"+callback.record={{_target_: tests.test_distributed_training.LossRecord, path: {folder / 'losses'}}}"
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={processes}"] if processes > 1 else []
    given = tiny(root, folder / "out", *SETTINGS, *ddp, record, *overrides)
    done = start(given, folder)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("out/*/*")
    return [float(line) for line in (folder / "losses").read_text().split()], RunFolder(path)


SETTINGS = (
    "loader.batch_size=8",
    "data.patches_per_epoch=40",
    "data.balance=none",  # balanced patches amplify rounding beyond the bounds below; in float64 they agree to 5e-16
    "callback=ema",
    "augmentation=nnunet_like",
    "supervision=deep",
    "supervision.weights=[1.0,0.5]",
    "test_after_training=false",
)
NETWORKS = {
    "batch norm and dropout": ("model.norm=batch",),
    "accumulated": ("model.norm=instance", "trainer.accumulate_grad_batches=2"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_one_two_and_four_processes_train_the_same_network(kind, bcss_root, tmp_path):
    """Patches have ignored pixels, different ones on each rank; gradients are clipped."""
    counts = (1, 2, 4) if kind == "batch norm and dropout" else (1, 2)
    results = {n: train_on(n, bcss_root, tmp_path / str(n), *NETWORKS[kind]) for n in counts}
    losses, run = results[1]
    assert len(losses) == 10
    weights = read_checkpoint(run.last_checkpoint)["state_dict"]
    for other_losses, other in list(results.values())[1:]:
        assert other_losses == pytest.approx(losses, rel=1e-5)
        for name, value in read_checkpoint(other.last_checkpoint)["state_dict"].items():
            torch.testing.assert_close(value, weights[name], rtol=1e-4, atol=5e-5, msg=name)
        for row, expected in zip(read_history(other.history_file), read_history(run.history_file), strict=True):
            assert {k: v for k, v in row.items() if k != "seconds"} == pytest.approx(
                {k: v for k, v in expected.items() if k != "seconds"}, rel=2e-3, abs=3e-3, nan_ok=True
            )


@pytest.mark.slow
def test_a_training_is_continued_on_another_number_of_processes(bcss_root, tmp_path):
    """Stopped in the middle of the second epoch on two, it ends on one where it would have ended on two."""
    losses, whole = train_on(2, bcss_root, tmp_path / "whole")
    interrupt = "+callback.interrupt={{_target_: tests.resuming.Interrupt, event: train_batch, count: {}, number: 15}}"
    stopped = tmp_path / "stopped"
    with pytest.raises(AssertionError, match="stopped by SIGTERM; the state is saved"):
        train_on(2, bcss_root, stopped, interrupt.format(6))
    (path,) = stopped.glob("out/*/*")
    alone = ["trainer.devices=1", "trainer.strategy=auto", interrupt.format(99)]
    done = start([f"resume={path}", *alone], stopped)
    assert done.returncode == 0, done.stderr
    assert [float(line) for line in (stopped / "losses").read_text().split()] == pytest.approx(losses, rel=1e-5)
    assert read_history(path / "history.csv")[1]["train/loss"] == pytest.approx(
        read_history(whole.history_file)[1]["train/loss"], rel=1e-5
    )


@pytest.mark.slow
def test_validation_has_the_same_digits_on_any_number_of_processes(bcss_root, tmp_path):
    """The learning rate moves no weight; there are fewer cases (2) than processes (3)."""
    still = ("optim.lr=1e-30", "model.norm=none", "model.dropout=0.0", "trainer.max_epochs=1", "loader.batch_size=6")
    columns = []
    for processes in (1, 3):
        _, run = train_on(processes, bcss_root, tmp_path / str(processes), *still, "data.patches_per_epoch=6")
        (row,) = csv.DictReader(run.history_file.open())
        columns.append({name: text for name, text in row.items() if name.startswith("val/")})
    assert "val/loss" in columns[0]
    assert columns[0] == columns[1]

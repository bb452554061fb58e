"""The same training on one, two and four processes: losses of all steps, and the weights at the end."""

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


def train_on(processes: int, root: Path, folder: Path, *overrides: str) -> tuple[list[float], RunFolder]:
    """Train; gives the losses of all steps and the run folder."""
    folder.mkdir()
    record = f"+callback.record={{_target_: tests.test_distributed_training.LossRecord, path: {folder / 'losses'}}}"
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={processes}"] if processes > 1 else []
    given = tiny(root, folder / "out", *SETTINGS, *ddp, record, *overrides)
    done = subprocess.run(
        [sys.executable, "-m", "unet_exp.train", *given],
        cwd=folder,
        env=start_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("out/*/*")
    return [float(line) for line in (folder / "losses").read_text().split()], RunFolder(path)


SETTINGS = (
    "loader.batch_size=8",
    "data.patches_per_epoch=40",
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
        assert other_losses == pytest.approx(losses, rel=2e-4)
        for name, value in read_checkpoint(other.last_checkpoint)["state_dict"].items():
            torch.testing.assert_close(value, weights[name], rtol=1e-3, atol=1e-4, msg=name)
        for row, expected in zip(read_history(other.history_file), read_history(run.history_file), strict=True):
            assert {k: v for k, v in row.items() if k != "seconds"} == pytest.approx(
                {k: v for k, v in expected.items() if k != "seconds"}, rel=2e-3, abs=3e-3, nan_ok=True
            )

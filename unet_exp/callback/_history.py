"""Writes history.csv and tells a person without a terminal how training goes."""

import sys
import time
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from unet_exp.run.history import read_history, write_history


class HistoryWriter(Checkpoint):
    """One row per epoch: learning rate, losses, scores, seconds; rewritten whole, so never half a row.

    It is a `Checkpoint` because Lightning calls those, and only those, after the task has logged the epoch.

    Args:
        path: The file history.csv.
        monitor: The score named in the printed line.
    """

    def __init__(self, path: Path, monitor: str) -> None:
        self._path = path
        self._monitor = monitor
        self._start = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the epoch's clock."""
        self._start = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Add the row; Lightning has validated by now. An epoch that was continued replaces its old row."""
        if not trainer.is_global_zero:
            return
        row: dict[str, float] = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "seconds": round(time.monotonic() - self._start, 3),
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
        }
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row |= {name: values[name] for name in sorted(values) if name != "train/loss_step"}
        kept = [old for old in read_history(self._path) if old["epoch"] < row["epoch"]]
        write_history(self._path, [*kept, row])
        if not sys.stderr.isatty() or trainer.progress_bar_callback is None:
            self._print(trainer, row)

    def _print(self, trainer: Trainer, row: dict[str, float]) -> None:
        score = row.get(self._monitor)
        shown = "" if score is None else f"  {self._monitor} {score:.4f}"
        total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"
        line = f"epoch {row['epoch'] + 1:>3}/{total}  train/loss {row.get('train/loss', float('nan')):.4f}{shown}"
        sys.stdout.write(f"{line}  {row['seconds']:.1f} s\n")
        sys.stdout.flush()

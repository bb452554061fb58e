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
        self._validated = False

    def state_dict(self) -> dict[str, float]:
        """How long the epoch has taken so far."""
        return {"seconds": time.monotonic() - self._start}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Let the clock of a continued epoch go on."""
        self._start = time.monotonic() - state_dict["seconds"]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the epoch's clock."""
        self._start = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Remember that there are fresh scores."""
        self._validated = True

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
        # Lightning keeps the values of earlier epochs: without a validation there are no scores in this one.
        row |= {name: values[name] for name in sorted(values) if self._belongs(name)}
        self._validated = False
        kept = [old for old in read_history(self._path) if old["epoch"] < row["epoch"]]
        write_history(self._path, [*kept, row])
        if not sys.stderr.isatty() or trainer.progress_bar_callback is None:
            self._print(trainer, row)

    def _belongs(self, name: str) -> bool:
        return name != "train/loss_step" and (self._validated or not name.startswith("val/"))

    def _print(self, trainer: Trainer, row: dict[str, float]) -> None:
        score = row.get(self._monitor)
        shown = "" if score is None else f"  {self._monitor} {score:.4f}"
        total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"
        line = f"epoch {row['epoch'] + 1:>3}/{total}  train/loss {row.get('train/loss', float('nan')):.4f}{shown}"
        sys.stdout.write(f"{line}  {row['seconds']:.1f} s\n")
        sys.stdout.flush()

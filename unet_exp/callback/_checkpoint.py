"""Writes checkpoints from which training continues as if it had never stopped, and stops when a signal has asked."""

import math
import time
from enum import IntEnum
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from unet_exp.callback._loop_state import (
    Position,
    StepLimit,
    forget_restart,
    is_resting_point,
    restart_validation,
)
from unet_exp.run.checkpoint_settings import CheckpointSettings
from unet_exp.run.signals import StopRequest

_KEY = "position"


class _Demand(IntEnum):
    """What is to be done now; of what the ranks demand, the greatest."""

    NOTHING = 0
    SAVE = 1
    STOP = 2
    FAIL = 3


class CheckpointWriter(Checkpoint):
    """Keeps ``last.ckpt`` and ``best.ckpt``; one file is written per epoch, which may bear both names.

    It is written after every epoch, when the settings say so, and when a signal asks training to stop, which then
    raises RunInterruptedError on every rank. What cannot be continued exactly in the middle of it (gradients being
    accumulated) is finished first. A stop during validation saves the epoch's training; the validation is repeated.

    Args:
        last: Where the state is saved.
        best: Where the state with the highest score is saved.
        monitor: Name of the score.
        request: Set by the signal handler.
        settings: When to write besides.
    """

    def __init__(
        self, *, last: Path, best: Path, monitor: str, request: StopRequest, settings: CheckpointSettings
    ) -> None:
        self._last = last
        self._best = best
        self._monitor = monitor
        self._request = request
        self._settings = settings
        self._best_score: float | None = None
        self._position: Position = "batch"
        self._validated = False
        self._saved_at = 0.0
        self._step_limit: StepLimit | None = None
        self._hide_step_limit = False
        self._stopping = False

    def on_save_checkpoint(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        """Add where in an epoch this is, and what the best score was."""
        checkpoint[_KEY] = {
            "position": self._position,
            "best_score": self._best_score,
            "should_stop": bool(trainer.should_stop),
        }
        if self._position == "validation":
            restart_validation(checkpoint["loops"])

    def on_load_checkpoint(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        """Take up where the checkpoint was written; a training that was stopped early stays stopped."""
        known = checkpoint.get(_KEY, {"position": "epoch", "best_score": None, "should_stop": False})
        self._position = known["position"]
        self._best_score = known["best_score"]
        trainer.should_stop = known["should_stop"]
        steps_left = checkpoint["global_step"] != trainer.max_steps
        self._hide_step_limit = self._position == "validation" or (self._position == "epoch" and steps_left)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Prepare Lightning's loops for where they continue."""
        if self._hide_step_limit:
            self._step_limit = StepLimit(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Take the signals back from Lightning, whose SIGTERM handler saves nothing and exits with 0."""
        self._request.install()
        trainer._signal_connector.received_sigterm = False  # one that came just before is remembered by the request
        self._saved_at = time.monotonic()
        if self._position != "validation":
            self._show_step_limit()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """Save if it is time to; stop if any rank was asked to, once the trackers have this step's values."""
        if is_resting_point(trainer, batch_idx):
            demand = self._demand(trainer)
            if demand is not _Demand.NOTHING:
                self._save(trainer, "batch")
            self._stopping = demand is _Demand.STOP

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Stop if the batch before was the last one to train."""
        if self._stopping:
            raise self._request.error()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Save or stop after the epoch's last batch."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        if self._position == "validation":
            forget_restart(trainer)
        self._show_step_limit()
        demand = self._demand(trainer)
        if demand is not _Demand.NOTHING:
            self._save(trainer, "validation")
        if demand is _Demand.STOP:
            raise self._request.error()

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Save and stop at once if this process was asked to."""
        # Ranks may have different numbers of cases here, so they cannot agree by a collective operation.
        if trainer.world_size == 1 and self._request:
            self._save(trainer, "validation")
            raise self._request.error()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Remember that there is a fresh score."""
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Save the end of the epoch, as the best one if it is."""
        demand = self._demand(trainer)
        self._save(trainer, "epoch", also=self._best if self._is_best(trainer) else None)
        if demand is _Demand.STOP:
            raise self._request.error()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Take the signals back once more."""
        self._request.install()

    def on_test_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Stop the scoring at once if this process was asked to; the training is saved."""
        if trainer.world_size == 1 and self._request:
            raise self._request.error()

    def _demand(self, trainer: Trainer) -> _Demand:
        """What this process demands, or any other one: signals and clocks differ, the decision must not.

        Raises:
            Exception: What has failed in this process; in the others, that one has.
        """
        demand = self._own_demand(trainer)
        if trainer.world_size > 1:
            wish = torch.tensor(int(demand), device=trainer.strategy.root_device)
            demand = _Demand(int(trainer.strategy.reduce(wish, reduce_op="max")))
        if demand is _Demand.FAIL:
            raise self._request.failure()
        return demand

    def _own_demand(self, trainer: Trainer) -> _Demand:
        if self._request.failed:
            return _Demand.FAIL
        if self._request:
            return _Demand.STOP
        return _Demand.SAVE if self._is_due(trainer) else _Demand.NOTHING

    def _is_due(self, trainer: Trainer) -> bool:
        n, minutes = self._settings.every_n_steps, self._settings.every_minutes
        if n is not None and trainer.global_step % n == 0:
            return True
        return minutes is not None and time.monotonic() - self._saved_at >= 60 * minutes

    def _save(self, trainer: Trainer, position: Position, also: Path | None = None) -> None:
        self._position = position
        trainer.save_checkpoint(self._last, storage_options={"also": also})
        self._saved_at = time.monotonic()

    def _is_best(self, trainer: Trainer) -> bool:
        """Whether this epoch was validated and has the highest score so far, which is then remembered."""
        validated, self._validated = self._validated, False
        if not validated or self._monitor not in trainer.callback_metrics:
            return False
        score = float(trainer.callback_metrics[self._monitor])
        score = -math.inf if math.isnan(score) else score
        if self._best_score is not None and score <= self._best_score:
            return False
        self._best_score = score
        return True

    def _show_step_limit(self) -> None:
        if self._step_limit is not None:
            self._step_limit.show()
            self._step_limit = None

"""Ends training cleanly when a signal has asked for it."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from unet_exp.run.signals import StopRequest


class StopOnSignal(Callback):
    """Saves ``last.ckpt`` after the current training batch, then raises RunInterruptedError on every rank.

    A request that comes during validation ends it at once; the checkpoint written before it is kept, since a
    state in the middle of a validation cannot be continued.

    Args:
        request: Set by the signal handler.
        checkpoint: Where the state is saved.
    """

    def __init__(self, request: StopRequest, checkpoint: Path) -> None:
        self._request = request
        self._checkpoint = checkpoint

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Take the signals back from Lightning, whose SIGTERM handler saves nothing and exits with 0."""
        self._request.install()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Save and stop if any rank was asked to."""
        if self._asked(trainer):
            trainer.save_checkpoint(self._checkpoint)
            raise self._request.error()

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Stop at once if this process was asked to."""
        # Ranks may have different numbers of cases here, so they cannot agree by a collective operation.
        if trainer.world_size == 1 and self._request:
            raise self._request.error()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Save the epoch's training before a validation that may be interrupted."""
        trainer.save_checkpoint(self._checkpoint)

    def _asked(self, trainer: Trainer) -> bool:
        if trainer.world_size == 1:
            return bool(self._request)
        return trainer.strategy.reduce_boolean_decision(bool(self._request), all=False)

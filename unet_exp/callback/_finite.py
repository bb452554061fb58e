"""Stops training at the first loss that is not a number, and keeps what is needed to look at it."""

import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from unet_exp.errors import UserError
from unet_exp.run.checkpoint_io import DurableCheckpointIO
from unet_exp.run.signals import StopRequest


class StopOnNonFiniteLoss(Callback):
    """Saves batch, weights and sample ids of a NaN or infinite loss before the optimiser takes a step, and stops.

    On a GPU the question would stop the queue of work once per step. Its answer is therefore copied beside the work
    and read after the backward pass was queued: the processor waits for the forward pass only, and meanwhile the GPU
    has the backward pass to do.

    Args:
        folder: The run folder.
        request: Told in distributed training, where all processes must stop at the same batch.
    """

    def __init__(self, folder: Path, request: StopRequest) -> None:
        self._folder = folder
        self._request = request
        self._batch: Any = None
        self._batch_idx = 0
        self._loss = torch.zeros(())
        self._copied: torch.cuda.Event | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Remember the batch."""
        self._batch, self._batch_idx = batch, batch_idx

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:  # noqa: ARG002
        """Ask for the loss."""
        if loss.device.type != "cuda":
            self._loss = loss.detach()
            return
        if self._copied is None:
            self._loss, self._copied = torch.zeros(()).pin_memory(), torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._loss.copy_(loss.detach(), non_blocking=True)
        self._copied.record()

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save and stop if it is not a number; the weights are still those that gave it."""
        if self._copied is not None:
            self._copied.synchronize()
        loss = float(self._loss)
        if math.isfinite(loss):
            return
        error = self._keep(trainer, pl_module, loss)
        if trainer.world_size == 1:
            raise error
        self._request.fail(error)

    def _keep(self, trainer: Trainer, pl_module: LightningModule, loss: float) -> UserError:
        path = self._folder / (f"nonfinite_loss-rank{r}.ckpt" if (r := trainer.global_rank) else "nonfinite_loss.ckpt")
        content = {
            "state_dict": pl_module.state_dict(),
            "batch": {name: tensor.cpu() for name, tensor in self._batch.items()},
            "samples": trainer.datamodule.samples_of_batch(self._batch_idx),  # type: ignore[attr-defined]
            "epoch": trainer.current_epoch,
            "batch_index": self._batch_idx,
            "rank": trainer.global_rank,
            "processes": trainer.world_size,
            "loss": loss,
            "precision": str(trainer.precision),
        }
        DurableCheckpointIO().save_checkpoint(content, path)
        return UserError(
            f"The loss is {loss} in epoch {trainer.current_epoch + 1}, batch {self._batch_idx + 1} (step "
            f"{trainer.global_step}): training is stopped. {path} keeps the batch, the weights and the ids of the "
            f"samples; to see where it comes from: python -m unet_exp.replay run={self._folder}"
        )

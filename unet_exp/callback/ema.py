"""Exponential moving average of the weights."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from unet_exp.bounds import Probability


class ExponentialMovingAverage(WeightAveraging):
    """Validates, tests and saves an average of the weights instead of the latest ones.

    The decay grows as ``min(decay, (1 + n) / (10 + n))`` with the n-th update, so that short trainings are not
    held back by their random start. Morales-Brotons et al. 2024, https://arxiv.org/abs/2411.18704.

    Args:
        decay: Share of the old average kept at each optimiser step, in the long run.
    """

    def __init__(self, decay: Probability = 0.999) -> None:
        def average(old: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
            n = int(count)
            keep = min(decay, (1 + n) / (10 + n))
            if not old.is_floating_point():  # counters such as batch norm's
                return new
            return old.lerp(new.to(old.dtype), 1 - keep)

        super().__init__(avg_fn=average)
        self._swapped = False

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the average into the network."""
        super().on_validation_epoch_start(trainer, pl_module)
        self._swapped = True

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the latest weights back."""
        super().on_validation_epoch_end(trainer, pl_module)
        self._swapped = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save average and latest weights, each under its own name also in the middle of a validation."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self._swapped:
            state, current = checkpoint["state_dict"], checkpoint["current_model_state"]
            checkpoint["state_dict"], checkpoint["current_model_state"] = current, state

"""Cosine decay with linear warm-up."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from unet_exp.bounds import NonNegativeFloat, NonNegativeInt, PositiveInt


def cosine(
    optimizer: Optimizer,
    *,
    total_steps: PositiveInt,
    steps_per_epoch: PositiveInt,  # noqa: ARG001 - every schedule is called with the same three arguments
    warmup_steps: NonNegativeInt = 0,
    end_factor: NonNegativeFloat = 0.0,
) -> LambdaLR:
    """Rise linearly for `warmup_steps`, then fall along half a cosine to `end_factor` (Loshchilov & Hutter 2017).

    Args:
        optimizer: Its learning rates are the peak.
        total_steps: Optimiser steps of the whole training.
        steps_per_epoch: Not used.
        warmup_steps: Length of the rise, in optimiser steps.
        end_factor: Last learning rate relative to the peak.
    """

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        return end_factor + (1 - end_factor) / 2 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)

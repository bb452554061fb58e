"""One-cycle schedule: a rise and a fall, both along half a cosine."""

import math
from typing import Annotated

from annotated_types import Interval
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from unet_exp.bounds import NonNegativeFloat, PositiveInt, Probability


def one_cycle(
    optimizer: Optimizer,
    *,
    total_steps: PositiveInt,
    steps_per_epoch: PositiveInt,  # noqa: ARG001 - every schedule is called with the same three arguments
    warmup_fraction: Annotated[float, Interval(ge=0, lt=1)] = 0.3,
    start_factor: Probability = 0.04,
    end_factor: NonNegativeFloat = 4e-6,
) -> LambdaLR:
    """Rise from ``start_factor`` to 1 over the first steps, then fall to ``end_factor``.

    Smith & Topin, "Super-convergence" (2018), with cosine instead of linear pieces as in torch's OneCycleLR
    (which also cycles the momentum; here only the learning rate moves).

    Args:
        optimizer: Its learning rates are the peak.
        total_steps: Optimiser steps of the whole training.
        steps_per_epoch: Not used.
        warmup_fraction: Share of `total_steps` spent rising.
        start_factor: First learning rate relative to the peak.
        end_factor: Last learning rate relative to the peak.
    """
    rise = warmup_fraction * total_steps

    def factor(step: int) -> float:
        if step < rise:
            return _between(start_factor, 1.0, step / rise)
        return _between(1.0, end_factor, min(1.0, (step - rise) / max(1.0, total_steps - 1 - rise)))

    return LambdaLR(optimizer, factor)


def _between(start: float, end: float, progress: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * progress))

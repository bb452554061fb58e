"""Polynomial decay, the schedule of DeepLab and nnU-Net."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from unet_exp.bounds import NonNegativeInt, PositiveFloat, PositiveInt


def poly(
    optimizer: Optimizer,
    *,
    total_steps: PositiveInt,
    steps_per_epoch: PositiveInt,  # noqa: ARG001 - every schedule is called with the same three arguments
    power: PositiveFloat = 0.9,
    warmup_steps: NonNegativeInt = 0,
) -> LambdaLR:
    """Scale the learning rate by ``(1 - step / total_steps) ** power`` after a linear warm-up.

    Args:
        optimizer: Its learning rates are the peak.
        total_steps: Optimiser steps of the whole training.
        steps_per_epoch: Not used.
        power: Exponent of the decay.
        warmup_steps: Length of the linear rise, in optimiser steps.
    """

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        return float(max(0.0, 1 - (step - warmup_steps) / max(1, total_steps - warmup_steps)) ** power)

    return LambdaLR(optimizer, factor)

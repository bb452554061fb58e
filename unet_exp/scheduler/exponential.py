"""Exponential decay per epoch, the schedule of Isensee 2017 and Han 2017."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from unet_exp.bounds import PositiveInt, Probability


def exponential(
    optimizer: Optimizer,
    *,
    total_steps: PositiveInt,  # noqa: ARG001 - every schedule is called with the same three arguments
    steps_per_epoch: PositiveInt,
    gamma: Probability = 0.985,
) -> LambdaLR:
    """Scale the learning rate by ``gamma ** epoch``.

    Args:
        optimizer: Its learning rates are those of the first epoch.
        total_steps: Not used.
        steps_per_epoch: Optimiser steps of one epoch.
        gamma: Factor from one epoch to the next.
    """
    return LambdaLR(optimizer, lambda step: float(gamma ** (step // steps_per_epoch)))

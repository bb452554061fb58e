"""Step decay, the schedule of the BCSS experiments this project grew from."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from unet_exp.bounds import PositiveInt, Probability


def step(
    optimizer: Optimizer,
    *,
    total_steps: PositiveInt,  # noqa: ARG001 - every schedule is called with the same three arguments
    steps_per_epoch: PositiveInt,
    gamma: Probability = 0.3,
    every_epochs: PositiveInt = 10,
) -> LambdaLR:
    """Scale the learning rate by ``gamma`` after every `every_epochs` epochs.

    Args:
        optimizer: Its learning rates are those of the first epochs.
        total_steps: Not used.
        steps_per_epoch: Optimiser steps of one epoch.
        gamma: Factor from one stage to the next.
        every_epochs: Length of a stage in epochs.
    """
    return LambdaLR(optimizer, lambda s: float(gamma ** (s // (steps_per_epoch * every_epochs))))

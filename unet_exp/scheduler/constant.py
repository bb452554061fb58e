"""No schedule: the optimiser's learning rate throughout."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from unet_exp.bounds import PositiveInt


def constant(
    optimizer: Optimizer,
    *,
    total_steps: PositiveInt,  # noqa: ARG001 - every schedule is called with the same three arguments
    steps_per_epoch: PositiveInt,  # noqa: ARG001
) -> LambdaLR:
    """Keep the learning rate.

    Args:
        optimizer: Its learning rates are used as they are.
        total_steps: Not used.
        steps_per_epoch: Not used.
    """
    return LambdaLR(optimizer, lambda _: 1.0)

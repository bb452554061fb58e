"""Exponential moving average of the weights."""

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

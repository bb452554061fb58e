"""Focal loss: cross-entropy in which pixels that are already right count for little."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unet_exp.bounds import NonNegativeFloat
from unet_exp.loss._common import pixel_weights, prepare, true_log_probability, weight_tensor, weighted_mean


def focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int,
    gamma: float = 2.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    r"""Return the focal loss (Lin et al. 2017, arXiv 1708.02002).

    .. math:: L = -\frac{\sum_i \alpha_{y_i} (1 - p_i(y_i))^\gamma \log p_i(y_i)}{\sum_i \alpha_{y_i}}

    The sums run over the pixels that are not ignored; without any the loss is 0. The paper divides by the
    number of positive boxes, which has no counterpart among pixels: this is a weighted mean instead, so that
    :math:`\gamma = 0` gives the (weighted) cross-entropy.

    Args:
        logits: ``(N, C, H, W)``; C = 1 is a single foreground logit.
        target: ``(N, H, W)``, class ids or ``ignore_index``.
        ignore_index: label of the pixels that do not count.
        gamma: how strongly easy pixels are turned down; 0 not at all.
        class_weights: the paper's alpha, ``(K,)``; None weighs all classes alike.
    """
    pixels = prepare(logits, target, ignore_index=ignore_index)
    log_probability = true_log_probability(pixels)
    # expm1 keeps 1 - p exact near p = 1; the floor keeps the slope of the power finite there for gamma < 1.
    missing = (-torch.expm1(log_probability)).clamp(min=torch.finfo(log_probability.dtype).tiny)
    return weighted_mean(-(missing**gamma) * log_probability, pixel_weights(pixels, class_weights))


class FocalLoss(nn.Module):
    """Focal loss (see :func:`focal_loss`).

    Args:
        ignore_index: label of the pixels that do not count.
        gamma: how strongly easy pixels are turned down; 0 gives cross-entropy.
        class_weights: one weight per class (background and foreground for a single logit); None for equal
            ones.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        ignore_index: int,
        *,
        gamma: NonNegativeFloat = 2.0,
        class_weights: Sequence[NonNegativeFloat] | None = None,
    ) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.gamma = gamma
        self.register_buffer("class_weights", weight_tensor(class_weights), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of ``(N, C, H, W)`` logits and an ``(N, H, W)`` target."""
        return focal_loss(
            logits,
            target,
            ignore_index=self.ignore_index,
            gamma=self.gamma,
            class_weights=self.class_weights,
        )

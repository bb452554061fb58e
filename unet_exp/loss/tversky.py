"""Tversky and focal Tversky loss: Dice in which a miss and a false alarm may cost differently."""

import torch
from torch import Tensor, nn

from unet_exp.bounds import NonNegativeFloat, PositiveFloat
from unet_exp.loss._common import prepare
from unet_exp.loss._overlap import count_overlap, mean_over_present, safe_ratio


def tversky_loss(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int,
    false_positive_weight: float = 0.3,
    false_negative_weight: float = 0.7,
    exponent: float = 1.0,
    per_image: bool = False,
    include_background: bool | None = None,
    smooth: float = 0.0,
) -> Tensor:
    r"""Return the (focal) Tversky loss, averaged over the classes that are present.

    .. math:: L_k = \left(1 - \frac{TP_k + s}{TP_k + \alpha FP_k + \beta FN_k + s}\right)^e

    with the soft counts of :mod:`unet_exp.loss._overlap`. :math:`e = 1` is the Tversky loss (Salehi et al.
    2017, arXiv 1706.05721; their alpha is on false positives), :math:`e = 1/\gamma = 0.75` the focal Tversky
    loss (Abraham and Khan 2019, arXiv 1810.07842; their alpha is on false *negatives*, hence the names here).
    Weights of 0.5 and :math:`e = 1` give Dice, with twice the ``smooth``.

    **Absent classes** are left out of the mean, as in ``dice_loss``.

    Args:
        logits: ``(N, C, H, W)``; C = 1 is a single foreground logit.
        target: ``(N, H, W)``, class ids or ``ignore_index``.
        ignore_index: label of the pixels that do not count.
        false_positive_weight: cost of a false alarm.
        false_negative_weight: cost of a miss; positive, as otherwise predicting nothing would cost nothing.
        exponent: below 1, a class that is nearly right keeps a large gradient; above 1, it loses it.
        per_image: sum over each image instead of over the batch.
        include_background: whether class 0 counts; None: only if C > 1.
        smooth: added to numerator and denominator.
    """
    pixels = prepare(logits, target, ignore_index=ignore_index)
    overlap = count_overlap(pixels, per_image=per_image, include_background=include_background)
    error = false_positive_weight * overlap.false_positive + false_negative_weight * overlap.false_negative
    losses = safe_ratio(error, overlap.true_positive + error + smooth, overlap.present)
    # At loss 0 a power below 1 is infinitely steep: the floor makes the gradient 0 there.
    losses = losses.clamp(min=torch.finfo(losses.dtype).tiny) ** exponent
    return mean_over_present(losses, overlap)


class TverskyLoss(nn.Module):
    """Tversky loss, or with ``exponent`` 0.75 the focal Tversky loss (see :func:`tversky_loss`).

    Args:
        ignore_index: label of the pixels that do not count.
        false_positive_weight: cost of a false alarm.
        false_negative_weight: cost of a miss.
        exponent: 1 for Tversky, 0.75 for focal Tversky.
        per_image: sum over each image instead of over the batch.
        include_background: whether class 0 counts; None: only if the network has two or more logits.
        smooth: added to numerator and denominator.
    """

    def __init__(
        self,
        ignore_index: int,
        *,
        false_positive_weight: NonNegativeFloat = 0.3,
        false_negative_weight: PositiveFloat = 0.7,
        exponent: PositiveFloat = 1.0,
        per_image: bool = False,
        include_background: bool | None = None,
        smooth: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.false_positive_weight = false_positive_weight
        self.false_negative_weight = false_negative_weight
        self.exponent = exponent
        self.per_image = per_image
        self.include_background = include_background
        self.smooth = smooth

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of ``(N, C, H, W)`` logits and an ``(N, H, W)`` target."""
        return tversky_loss(
            logits,
            target,
            ignore_index=self.ignore_index,
            false_positive_weight=self.false_positive_weight,
            false_negative_weight=self.false_negative_weight,
            exponent=self.exponent,
            per_image=self.per_image,
            include_background=self.include_background,
            smooth=self.smooth,
        )

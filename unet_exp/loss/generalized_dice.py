"""Generalised Dice loss: one Dice over all classes together, in which rare classes weigh more."""

from torch import Tensor, nn

from unet_exp.bounds import NonNegativeFloat
from unet_exp.loss._common import prepare, weighted_mean
from unet_exp.loss._overlap import count_overlap, safe_ratio


def generalized_dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int,
    volume_exponent: float = 2.0,
    per_image: bool = False,
) -> Tensor:
    r"""Return the generalised Dice loss (Sudre et al. 2017, arXiv 1707.03237).

    .. math:: L = 1 - 2 \frac{\sum_k w_k TP_k}{\sum_k w_k (2 TP_k + FP_k + FN_k)}, \qquad w_k = V_k^{-v}

    with :math:`V_k` the number of labelled pixels of class k. All classes count, the background too: the
    weights, not a choice of classes, deal with its size.

    **Absent classes** get the weight 0 (the formula would make it infinite); a region without any labelled
    pixel is left out of the mean over the regions.

    Args:
        logits: ``(N, C, H, W)``; C = 1 is a single foreground logit.
        target: ``(N, H, W)``, class ids or ``ignore_index``.
        ignore_index: label of the pixels that do not count.
        volume_exponent: v; 2 as in the paper, 1 is calmer when a class has a few pixels only, 0 weighs all
            alike.
        per_image: one Dice per image, averaged, instead of one for the batch.
    """
    pixels = prepare(logits, target, ignore_index=ignore_index)
    overlap = count_overlap(pixels, per_image=per_image, include_background=True)
    # Relative to the largest class, or the weights of a large batch would come near the smallest float32.
    share = overlap.volume / overlap.volume.amax(dim=1, keepdim=True).clamp(min=1)
    weights = overlap.present / share.where(overlap.present, 1.0) ** volume_exponent
    error = (weights * (overlap.false_positive + overlap.false_negative)).sum(dim=1)
    agreement = (weights * overlap.true_positive).sum(dim=1)
    defined = overlap.present.any(dim=1)
    losses = safe_ratio(error, 2 * agreement + error, defined)
    return weighted_mean(losses, defined.to(losses.dtype))


class GeneralizedDiceLoss(nn.Module):
    """Generalised Dice loss (see :func:`generalized_dice_loss`).

    Args:
        ignore_index: label of the pixels that do not count.
        volume_exponent: a class weighs 1 / (its pixels) to this power; 2 as in the paper.
        per_image: one Dice per image, averaged, instead of one for the batch.
    """

    def __init__(self, ignore_index: int, *, volume_exponent: NonNegativeFloat = 2.0, per_image: bool = False) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.volume_exponent = volume_exponent
        self.per_image = per_image

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of ``(N, C, H, W)`` logits and an ``(N, H, W)`` target."""
        return generalized_dice_loss(
            logits,
            target,
            ignore_index=self.ignore_index,
            volume_exponent=self.volume_exponent,
            per_image=self.per_image,
        )

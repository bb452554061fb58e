"""Soft Dice loss: one minus the overlap of the predicted probabilities with the labelled region."""

from torch import Tensor, nn

from unet_exp.bounds import NonNegativeFloat
from unet_exp.loss._common import prepare
from unet_exp.loss._overlap import count_overlap, soft_dice


def dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int,
    per_image: bool = False,
    include_background: bool | None = None,
    smooth: float = 0.0,
) -> Tensor:
    r"""Return the soft Dice loss, averaged over the classes that are present.

    .. math:: L_k = 1 - \frac{2 \sum_i p_{ik} y_{ik} + s}{\sum_i p_{ik} + \sum_i y_{ik} + s}

    The sums run over the pixels of one image or of the batch that are not ignored. The denominator is the
    plain sum of nnU-Net (Isensee et al. 2021), not V-Net's sum of squares (Milletari et al. 2016): for
    probabilities of 0 and 1 the loss is then one minus the Dice score.

    **Absent classes**: a class without a labelled pixel in the image (or batch) is left out of the mean; if
    that leaves nothing, the loss is 0. See :mod:`unet_exp.loss._overlap` for the reason and the consequence.

    Args:
        logits: ``(N, C, H, W)``; C = 1 is a single foreground logit.
        target: ``(N, H, W)``, class ids or ``ignore_index``.
        ignore_index: label of the pixels that do not count.
        per_image: sum over each image and average the (image, class) pairs (Isensee et al. 2017), instead of
            summing over the batch. A batch of patches rarely lacks a class, so its sums are less noisy.
        include_background: whether class 0 counts. None counts it for two or more logits, where class 0 may
            well be a tissue, and not for a single logit, where "the" Dice is that of the foreground.
        smooth: added to numerator and denominator; 0 is safe, larger values soften the loss of tiny regions.
    """
    pixels = prepare(logits, target, ignore_index=ignore_index)
    overlap = count_overlap(pixels, per_image=per_image, include_background=include_background)
    return soft_dice(overlap, smooth=smooth)


class DiceLoss(nn.Module):
    """Soft Dice loss (see :func:`dice_loss` for the formula and the policy on absent classes).

    Args:
        ignore_index: label of the pixels that do not count.
        per_image: sum over each image instead of over the batch.
        include_background: whether class 0 counts; None: only if the network has two or more logits.
        smooth: added to numerator and denominator.
    """

    def __init__(
        self,
        ignore_index: int,
        *,
        per_image: bool = False,
        include_background: bool | None = None,
        smooth: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.per_image = per_image
        self.include_background = include_background
        self.smooth = smooth

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of ``(N, C, H, W)`` logits and an ``(N, H, W)`` target."""
        return dice_loss(
            logits,
            target,
            ignore_index=self.ignore_index,
            per_image=self.per_image,
            include_background=self.include_background,
            smooth=self.smooth,
        )

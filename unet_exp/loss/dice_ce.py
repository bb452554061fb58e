"""Dice plus cross-entropy, the default: Dice looks at whole regions, cross-entropy at every single pixel."""

from collections.abc import Sequence

from torch import Tensor, nn

from unet_exp.bounds import NonNegativeFloat
from unet_exp.loss._common import pixel_weights, prepare, true_log_probability, weight_tensor, weighted_mean
from unet_exp.loss._overlap import count_overlap, soft_dice


def dice_ce_loss(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int,
    dice_weight: float = 1.0,
    cross_entropy_weight: float = 1.0,
    class_weights: Tensor | None = None,
    per_image: bool = False,
    include_background: bool | None = None,
    smooth: float = 0.0,
) -> Tensor:
    """Return ``dice_weight`` x soft Dice + ``cross_entropy_weight`` x cross-entropy.

    The sum is nnU-Net's default (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z). Each part is what
    ``dice_loss`` and ``cross_entropy_loss`` return. Classes absent from the batch are left out of the Dice
    part; false alarms of such classes are still punished by the cross-entropy.

    Args:
        logits: ``(N, C, H, W)``; C = 1 is a single foreground logit.
        target: ``(N, H, W)``, class ids or ``ignore_index``.
        ignore_index: label of the pixels that do not count.
        dice_weight: factor of the Dice part.
        cross_entropy_weight: factor of the cross-entropy part.
        class_weights: ``(K,)``, of the cross-entropy part; None weighs all classes alike.
        per_image: Dice of each image instead of the batch.
        include_background: whether class 0 counts for Dice; None: only if C > 1.
        smooth: added to numerator and denominator of Dice.
    """
    pixels = prepare(logits, target, ignore_index=ignore_index)
    overlap = count_overlap(pixels, per_image=per_image, include_background=include_background)
    cross_entropy = weighted_mean(-true_log_probability(pixels), pixel_weights(pixels, class_weights))
    return dice_weight * soft_dice(overlap, smooth=smooth) + cross_entropy_weight * cross_entropy


class DiceCELoss(nn.Module):
    """Weighted sum of soft Dice and cross-entropy (see :func:`dice_ce_loss`).

    Args:
        ignore_index: label of the pixels that do not count.
        dice_weight: factor of the Dice part.
        cross_entropy_weight: factor of the cross-entropy part.
        class_weights: one weight per class for the cross-entropy part; None for equal ones.
        per_image: Dice of each image instead of the batch.
        include_background: whether class 0 counts for Dice; None: only if the network has two or more logits.
        smooth: added to numerator and denominator of Dice.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        ignore_index: int,
        *,
        dice_weight: NonNegativeFloat = 1.0,
        cross_entropy_weight: NonNegativeFloat = 1.0,
        class_weights: Sequence[NonNegativeFloat] | None = None,
        per_image: bool = False,
        include_background: bool | None = None,
        smooth: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.dice_weight = dice_weight
        self.cross_entropy_weight = cross_entropy_weight
        self.per_image = per_image
        self.include_background = include_background
        self.smooth = smooth
        self.register_buffer("class_weights", weight_tensor(class_weights), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of ``(N, C, H, W)`` logits and an ``(N, H, W)`` target."""
        return dice_ce_loss(
            logits,
            target,
            ignore_index=self.ignore_index,
            dice_weight=self.dice_weight,
            cross_entropy_weight=self.cross_entropy_weight,
            class_weights=self.class_weights,
            per_image=self.per_image,
            include_background=self.include_background,
            smooth=self.smooth,
        )

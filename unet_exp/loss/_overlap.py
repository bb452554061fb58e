"""Soft true positives, false positives and false negatives of each class, which the overlap losses share.

One rule for all of them: **a class without a single labelled pixel in the region is left out of the mean**.
It has no overlap to speak of: 2TP / (2TP + FP + FN) is 0 however small the false alarm, so smoothing it would
either add a constant or, near a silent network, a gradient of 1 / ``smooth``. What a false alarm takes from
the classes that are present still counts, as it lowers their true positives; only a single-logit network on
an image without foreground learns nothing from its foreground overlap, and needs cross-entropy beside it
(``dice_ce``).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from unet_exp.global_batch import batch_sums
from unet_exp.loss._common import Pixels, class_masks, probabilities, weighted_mean


class Overlap(NamedTuple):
    """Soft counts in pixels, each ``(G, K')``: G regions (images, or 1 for the batch), K' counted classes."""

    true_positive: Tensor
    """Sum of the class's probability over its own pixels."""
    false_positive: Tensor
    """Sum of the class's probability over the pixels of other classes."""
    false_negative: Tensor
    """Sum of the missing probability over the class's own pixels."""
    volume: Tensor
    """Number of labelled pixels of the class."""

    @property
    def present(self) -> Tensor:
        """True where the class has at least one labelled pixel."""
        return self.volume > 0


def count_overlap(pixels: Pixels, *, per_image: bool, include_background: bool | None) -> Overlap:
    """Count the overlap of every class that counts.

    Each count is summed by itself: as a difference of two large sums it would be all rounding error, or
    negative, for a nearly perfect prediction.

    Args:
        pixels: prepared logits and labels.
        per_image: one region per image instead of one for the whole batch, in distributed training that of all
            processes.
        include_background: whether class 0 counts; None counts it unless the network has a single logit.
    """
    if include_background is None:
        include_background = pixels.logits.shape[1] > 1
    first = 0 if include_background else 1
    probability = probabilities(pixels.logits)[:, first:]
    truth = class_masks(pixels)[:, first:]
    others = pixels.valid.unsqueeze(1) & ~truth
    axes = (2, 3) if per_image else (0, 2, 3)

    def total(values: Tensor) -> Tensor:
        return values.sum(axes).view(-1, truth.shape[1])

    counts = (
        total(probability * truth),
        total(probability * others),
        total((1 - probability) * truth),
        total(truth.to(probability.dtype)),
    )
    return Overlap(*(counts if per_image else batch_sums(*counts)))


def safe_ratio(numerator: Tensor, denominator: Tensor, defined: Tensor) -> Tensor:
    """Divide, with 0 (and no gradient) where the ratio is not ``defined``."""
    one = torch.ones_like(denominator)
    ratio = numerator / torch.where(defined, denominator, one)
    return torch.where(defined, ratio, torch.zeros_like(ratio))


def mean_over_present(losses: Tensor, overlap: Overlap) -> Tensor:
    """Average over the (region, class) pairs in which the class is present; 0 if there is none."""
    return weighted_mean(losses, overlap.present.to(losses.dtype))


def soft_dice(overlap: Overlap, *, smooth: float) -> Tensor:
    """Return 1 - (2TP + s) / (2TP + FP + FN + s), averaged over the present classes."""
    error = overlap.false_positive + overlap.false_negative
    dice_loss = safe_ratio(error, 2 * overlap.true_positive + error + smooth, overlap.present)
    return mean_over_present(dice_loss, overlap)

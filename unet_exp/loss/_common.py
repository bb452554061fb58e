"""Pieces that every loss shares: checked pixels, probabilities, and a mean that survives an empty selection.

Shapes: N images, C logits per pixel, K classes, H x W pixels. Two or more logits are one per class (C = K,
softmax); a single logit is the log-odds of class 1 against class 0 (C = 1, K = 2).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from unet_exp.global_batch import batch_sums


class Pixels(NamedTuple):
    """Logits and labels in which the ignored pixels can do no harm."""

    logits: Tensor
    """``(N, C, H, W)``, float32 or float64; the constant 0 at ignored pixels, so no gradient leaves them."""
    labels: Tensor
    """``(N, H, W)``, int64; 0 at ignored pixels."""
    valid: Tensor
    """``(N, H, W)``, bool; False at ignored pixels."""

    @property
    def num_classes(self) -> int:
        """The number of classes K."""
        return max(2, self.logits.shape[1])


def prepare(logits: Tensor, target: Tensor, *, ignore_index: int) -> Pixels:
    """Check the two inputs, leave half precision, and cut the ignored pixels out.

    The logits are overwritten *before* anything is computed from them: multiplying by a mask afterwards would
    let an infinite logit at an ignored pixel through as NaN (0 x inf).

    Args:
        logits: ``(N, C, H, W)``, any floating type.
        target: ``(N, H, W)``, class ids or ``ignore_index``, any integer type or bool.
        ignore_index: label of the pixels that do not count.
    """
    if logits.ndim != 4 or target.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(
            "Expected `logits` of shape (N, C, H, W) and `target` of shape (N, H, W), "
            f"but got {tuple(logits.shape)} and {tuple(target.shape)}."
        )
    if not logits.is_floating_point() or target.is_floating_point():
        raise ValueError(
            f"Expected floating point `logits` and class ids in `target`, but got {logits.dtype} and {target.dtype}."
        )
    valid = target != ignore_index
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return Pixels(
        logits=logits.masked_fill(~valid.unsqueeze(1), 0.0),
        labels=target.long().masked_fill(~valid, 0),
        valid=valid,
    )


def log_probabilities(logits: Tensor) -> Tensor:
    """Return the log-probability of every class, ``(N, K, H, W)``, finite where a probability rounds to 0."""
    if logits.shape[1] == 1:
        return torch.cat([F.logsigmoid(-logits), F.logsigmoid(logits)], dim=1)
    return F.log_softmax(logits, dim=1)


def probabilities(logits: Tensor) -> Tensor:
    """Return the probability of every class, ``(N, K, H, W)``."""
    if logits.shape[1] == 1:
        return torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=1)
    return F.softmax(logits, dim=1)


def class_masks(pixels: Pixels) -> Tensor:
    """Return the labels as one bool mask per class, ``(N, K, H, W)``; ignored pixels belong to no class."""
    classes = torch.arange(pixels.num_classes, device=pixels.labels.device).view(1, -1, 1, 1)
    return (pixels.labels.unsqueeze(1) == classes) & pixels.valid.unsqueeze(1)


def true_log_probability(pixels: Pixels) -> Tensor:
    """Return the log-probability of each pixel's own class, ``(N, H, W)``.

    ``gather`` instead of ``nll_loss``, because the latter has no deterministic CUDA kernel for images.
    """
    return log_probabilities(pixels.logits).gather(1, pixels.labels.unsqueeze(1)).squeeze(1)


def weight_tensor(class_weights: Sequence[float] | None) -> Tensor | None:
    """Turn configured class weights into a float32 tensor of shape ``(K,)``."""
    return None if class_weights is None else torch.tensor(list(class_weights), dtype=torch.float32)


def pixel_weights(pixels: Pixels, class_weights: Tensor | None) -> Tensor:
    """Return each pixel's weight, ``(N, H, W)``: that of its class (1 if None), and 0 where ignored."""
    weights = pixels.valid.to(pixels.logits.dtype)
    if class_weights is None:
        return weights
    if class_weights.shape != (pixels.num_classes,):
        raise ValueError(
            f"Expected `class_weights` to hold one weight for each of the {pixels.num_classes} classes, "
            f"but got {class_weights.numel()}."
        )
    return weights * class_weights.to(weights)[pixels.labels]


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return sum(weights x values) / sum(weights), and 0, still part of the graph, when all weights are 0.

    In distributed training the sums run over the batches of all processes. What was summed over them before, such as
    the Dice of a whole batch, is the same in each process, and so is its mean.
    """
    total, weight = batch_sums((values * weights).sum(), weights.sum())
    return total / weight.clamp(min=torch.finfo(values.dtype).tiny)

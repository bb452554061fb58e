"""Lovász loss: a surrogate of the IoU itself, built by sorting the pixels by their error."""

import torch
from torch import Tensor, nn

from unet_exp.global_batch import whole_batch
from unet_exp.loss._common import Pixels, class_masks, prepare, probabilities, weighted_mean


def lovasz_loss(logits: Tensor, target: Tensor, *, ignore_index: int, per_image: bool = False) -> Tensor:
    r"""Return the Lovász-Softmax loss, or for a single logit the Lovász hinge.

    .. math::
        L_k = \sum_i m_{\pi(i)} \, g_i, \qquad
        g_i = J_k(\{\pi(1) \ldots \pi(i)\}) - J_k(\{\pi(1) \ldots \pi(i-1)\})

    where :math:`\pi` sorts the pixels by falling error m, and :math:`J_k(S)` is the Jaccard loss of class k
    if exactly the pixels S are wrong (Berman et al. 2018, arXiv 1705.08790). The error is :math:`|y - p|`
    with softmax and :math:`\max(0, 1 - y z)` with :math:`y = \pm 1` for the hinge.

    **Absent classes**: with softmax a class without a labelled pixel in the image (or batch) is left out of
    the mean, as in the paper. The hinge has one class only; without any foreground it is the error of the
    worst pixel, since the first false alarm already makes the Jaccard loss 1. Without any valid pixel the
    loss is 0.

    Args:
        logits: ``(N, C, H, W)``; C = 1 is a single foreground logit.
        target: ``(N, H, W)``, class ids or ``ignore_index``.
        ignore_index: label of the pixels that do not count.
        per_image: sort within each image and average, instead of within the batch.
    """
    pixels = prepare(logits, target, ignore_index=ignore_index)
    truth = class_masks(pixels)
    if pixels.logits.shape[1] == 1:
        truth = truth[:, 1:]
        sign = truth.to(pixels.logits.dtype) * 2 - 1
        errors = torch.relu(1 - sign * pixels.logits)
    else:
        probability = probabilities(pixels.logits)
        errors = torch.where(truth, 1 - probability, probability)
    return _mean_extension(errors, truth, pixels, per_image=per_image)


def _mean_extension(errors: Tensor, truth: Tensor, pixels: Pixels, *, per_image: bool) -> Tensor:
    """Average the Lovász extension of the Jaccard loss over regions and classes; inputs ``(N, K', H, W)``."""
    valid = pixels.valid.unsqueeze(1).expand_as(truth)

    def regions(values: Tensor) -> Tensor:  # (G, K', P): G regions of P pixels
        return values.flatten(2) if per_image else whole_batch(values.transpose(0, 1).flatten(1)).unsqueeze(0)

    errors, truth, valid = regions(errors), regions(truth), regions(valid)
    errors, order = errors.sort(dim=-1, descending=True, stable=True)
    weights = _jaccard_steps(truth.gather(-1, order), valid.gather(-1, order), dtype=errors.dtype)
    losses = (errors * weights).sum(dim=-1)
    hinge = pixels.logits.shape[1] == 1
    counted = valid.any(dim=-1) if hinge else truth.any(dim=-1)
    return weighted_mean(losses, counted.to(losses.dtype))


def _jaccard_steps(truth: Tensor, valid: Tensor, *, dtype: torch.dtype) -> Tensor:
    """Return by how much the Jaccard loss grows as each pixel turns wrong, in order along the last axis.

    Ignored pixels may stand anywhere in that order: they are not counted, and their step is 0.

    Counting in integers and writing the difference in closed form: the usual difference of neighbouring
    Jaccard values, about 1 / P each, loses most of its digits in float32, and a float ``cumsum`` is not
    deterministic on CUDA.
    """
    size = truth.sum(dim=-1, keepdim=True)
    hits = size - truth.cumsum(dim=-1)  # still right, of the class's own pixels
    union = size + (valid & ~truth).cumsum(dim=-1)  # own pixels and false alarms so far
    miss = 1 / union.clamp(min=1).to(dtype)
    alarm = hits / (union * (union - 1)).clamp(min=1).to(dtype)
    # Without truth the first alarm takes the loss from 0 to 1, and the others (hits = 0) add nothing.
    alarm = alarm.masked_fill((size == 0) & (union == 1), 1.0)
    return torch.where(truth, miss, alarm) * valid


class LovaszLoss(nn.Module):
    """Lovász-Softmax or, for a single logit, Lovász hinge (see :func:`lovasz_loss`).

    Args:
        ignore_index: label of the pixels that do not count.
        per_image: sort within each image and average, instead of within the batch.
    """

    def __init__(self, ignore_index: int, *, per_image: bool = False) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.per_image = per_image

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of ``(N, C, H, W)`` logits and an ``(N, H, W)`` target."""
        return lovasz_loss(logits, target, ignore_index=self.ignore_index, per_image=self.per_image)

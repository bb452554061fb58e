"""From scores per class to class ids."""

import torch
from torch import Tensor


def class_ids(logits: Tensor) -> Tensor:
    """The class with the largest logit at every pixel, of equal ones the first.

    It is `logits.argmax(-3)`, which takes twenty times as long on a CPU, where the classes lie far apart in memory.

    Args:
        logits: (..., K, H, W), or probabilities; with K = 1, logits of class 1.

    Returns:
        (..., H, W) uint8.
    """
    planes = logits.unbind(-3)
    if len(planes) == 1:
        return (planes[0] > 0).to(torch.uint8)
    best, labels = planes[0], torch.zeros_like(planes[0], dtype=torch.uint8)
    for index, plane in enumerate(planes[1:], start=1):
        labels.masked_fill_(plane > best, index)
        best = torch.maximum(best, plane)
    return labels

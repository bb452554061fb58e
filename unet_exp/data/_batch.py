"""Batches that samples are written into one by one."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def make_batch(samples: Iterable[Mapping[str, NDArray[np.uint8]]], count: int) -> dict[str, Tensor]:
    """Write each sample to its place as soon as it is made, while the processor's cache still holds it.

    Args:
        samples: As many as `count`, of the same names and shapes: (H, W, C) or (H, W); they may be views.
        count: Samples of the batch.

    Returns:
        Per name (N, C, H, W) in the memory layout that torch calls channels_last, or (N, H, W).
    """
    batch: dict[str, Tensor] = {}
    places: dict[str, NDArray[np.uint8]] = {}
    for position, sample in enumerate(samples):
        if not batch:
            # Not in memory shared with the main process: a worker's sending thread copies it there while the worker
            # already makes the next batch, which is faster than to make it there.
            batch = {name: torch.empty(count, *array.shape, dtype=torch.uint8) for name, array in sample.items()}
            places = {name: tensor.numpy() for name, tensor in batch.items()}
        for name, array in sample.items():
            places[name][position] = array
    return {name: tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor for name, tensor in batch.items()}


def as_made(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Collation for a dataset that gives whole batches."""
    return batch

"""The batch of a step over all processes: sums in which the gradient finds its way back to every process.

A loss divides by something counted in the batch: valid pixels, the pixels of a class. The mean of what each process
gets for its own part is another number than the loss of the whole batch wherever these counts differ. So the counts are
summed over the processes first, and each of them computes the loss of the whole batch.

The gradient is right without further care: distributed training averages the gradients of the processes' losses, which
are the same loss, and `_SumOfAll` sends the gradient of each of them to every process.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed

_active = False
_place: tuple[int, int] | None = None


def place_in_batch() -> tuple[int, int]:
    """Rank of this process and number of processes: which samples of the whole batch it has."""
    if _place is not None:
        return _place
    return (distributed.get_rank(), _world_size()) if _world_size() > 1 else (0, 1)


@contextmanager
def in_place_of(rank: int, processes: int) -> Iterator[None]:
    """Inside the block, draw what a process of a distributed training drew; nothing is exchanged."""
    global _place
    before, _place = _place, (rank, processes)
    try:
        yield
    finally:
        _place = before


@contextmanager
def over_all_processes() -> Iterator[None]:
    """Inside the block, batches are parts of a global one; all processes must compute the same things in it.

    Elsewhere (in validation, where processes have different numbers of cases) a batch stands for itself.
    """
    global _active
    before, _active = _active, _world_size() > 1
    try:
        yield
    finally:
        _active = before


def batch_sums(*parts: Tensor) -> tuple[Tensor, ...]:
    """Sums over the global batch, of the sums over this process's part of it.

    Args:
        parts: Floating point tensors of any shape, the same ones in every process.
    """
    if not _active:
        return parts
    kind = torch.promote_types(torch.float32, parts[0].dtype)
    total = _sum_of_all(torch.cat([part.to(kind).flatten() for part in parts]))
    pieces = torch.split(total, [part.numel() for part in parts])
    return tuple(piece.view(part.shape) for piece, part in zip(pieces, parts, strict=True))


def whole_batch(part: Tensor) -> Tensor:
    """The parts of all processes, one after the other along the last axis.

    Args:
        part: Of the same shape in every process; floating point or bool.
    """
    if not _active:
        return part
    values = part if part.is_floating_point() else part.to(torch.uint8)
    before, after = distributed.get_rank(), _world_size() - distributed.get_rank() - 1
    nothing = torch.zeros_like(values)
    whole = _sum_of_all(torch.cat([nothing] * before + [values] + [nothing] * after, dim=-1))
    return whole.to(part.dtype)


def _world_size() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def _sum_of_all(part: Tensor) -> Tensor:
    total: Tensor = _SumOfAll.apply(part)  # type: ignore[no-untyped-call]
    return total


class _SumOfAll(torch.autograd.Function):
    """The sum over the processes; its gradient is the sum of the gradients that the processes have for it."""

    @staticmethod
    def forward(_ctx: object, part: Tensor) -> Tensor:
        total = part.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: object, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

"""Which sample comes when: a pure function of (seed, epoch, index), and resumable in mid-epoch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.utils.data import Sampler

from unet_exp.data._handover import Handover
from unet_exp.data._loader import ShieldedLoader

SampleKey = tuple[int, int]
"""(epoch, index): everything drawn for a sample follows from it and the seed."""


def sample_generator(seed: int, key: SampleKey) -> np.random.Generator:
    """Random generator of one sample, the same in any worker process on any rank."""
    return np.random.default_rng([seed, *key])


def rank_and_world_size() -> tuple[int, int]:
    """This process and the number of processes, (0, 1) outside distributed training."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


class EpochSampler(Sampler[SampleKey]):
    """Shuffled training samples; rank r of n takes every n-th one of a global order.

    The epoch travels with the index because persistent workers hold an old copy of the dataset. What does
    not fill a global batch is left out, so every rank takes equally many steps. Lightning calls `set_epoch`.

    Args:
        size: Number of samples of an epoch.
        seed: Seed of the order.
        batch_size: Samples per rank and step; an epoch smaller than one global batch is kept whole.
    """

    def __init__(self, size: int, *, seed: int, batch_size: int) -> None:
        self.size = size
        self.seed = seed
        self.batch_size = batch_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration serves."""
        self.epoch = epoch

    def __len__(self) -> int:
        _, world_size = rank_and_world_size()
        global_batch = self.batch_size * world_size
        whole = self.size - self.size % global_batch
        return (whole or self.size - self.size % world_size) // world_size

    def __iter__(self) -> Iterator[SampleKey]:
        rank, world_size = rank_and_world_size()
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.size)
        for index in order[rank::world_size][: len(self)]:
            yield self.epoch, int(index)


class EvaluationBatches(Sampler[list[int]]):
    """Every case exactly once over all ranks: nothing is padded or repeated.

    Whole batches are dealt out, so that the same cases share a forward pass on any number of ranks: results of a
    convolution differ in their last bits with the size of the batch. A rank for which there is none gets an empty one:
    Lightning lets a rank without batches leave out the end of the epoch too, where the others wait for it.

    Args:
        size: Number of cases.
        batch_size: Cases of a batch; the last one may have fewer.
    """

    def __init__(self, size: int, batch_size: int) -> None:
        self.size = size
        self.batch_size = batch_size

    def __len__(self) -> int:
        return max(1, len(self._starts()))

    def __iter__(self) -> Iterator[list[int]]:
        if not self._starts():
            yield []
        for start in self._starts():
            yield list(range(start, min(start + self.batch_size, self.size)))

    def _starts(self) -> range:
        """The first case of each batch of this rank."""
        rank, world_size = rank_and_world_size()
        return range(rank * self.batch_size, self.size, world_size * self.batch_size)


class _SkippingBatches(Sampler[list[SampleKey]]):
    """Batches of a sampler, without those of a resumed epoch that were already trained on."""

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler = sampler  # Lightning finds `set_epoch` here
        self.batch_size = sampler.batch_size
        self.resumed_epoch = -1
        self.resumed_batches = 0

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.batch_size)

    @property
    def skip(self) -> int:
        """Batches that the next iteration leaves out."""
        return self.resumed_batches if self.sampler.epoch == self.resumed_epoch else 0

    def __iter__(self) -> Iterator[list[SampleKey]]:
        keys = list(self.sampler)
        for start in range(self.skip * self.batch_size, len(keys), self.batch_size):
            yield keys[start : start + self.batch_size]


class ResumableLoader(ShieldedLoader):
    """Training loader that continues in mid-epoch where a checkpoint left it.

    The state counts the batches handed out, not those that workers have prepared ahead, so none is lost or
    repeated.

    Args:
        dataset: Takes sample keys.
        sampler: Gives sample keys.
        settings: Further arguments of `torch.utils.data.DataLoader`.
    """

    def __init__(self, dataset: Any, sampler: EpochSampler, settings: dict[str, Any]) -> None:
        self._batches = _SkippingBatches(sampler)
        self._handed_out = 0
        self._handover: Handover | None = None
        super().__init__(dataset, batch_sampler=self._batches, **settings)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # A generator runs at the first `next`: by then Lightning has told the sampler the epoch.
        self._handed_out = self._batches.skip
        handover = self._begin_handover() if self.num_workers else None
        for batch in super().__iter__():
            self._handed_out += 1
            yield handover.receive(batch) if handover else batch

    def _begin_handover(self) -> Handover:
        """Set up how workers send their batches; kept as long as they are."""
        if self._handover is None or not self.persistent_workers:
            # One batch more than a worker prepares ahead: the one that is being received.
            places = (self.prefetch_factor or 0) + 1
            pin = self.pin_memory and torch.cuda.is_available()
            self._handover = Handover(self.num_workers, places=places, pin=pin)
            self.collate_fn = self._handover.send
        self._handover.begin()
        return self._handover

    def keys_of_batch(self, index: int) -> list[SampleKey]:
        """Keys of the samples of a batch of the epoch being served, the first batch being 0."""
        keys, size = list(self._batches.sampler), self._batches.batch_size
        return keys[index * size : (index + 1) * size]

    def state_dict(self) -> dict[str, int]:
        """The epoch being served and how many of its batches were handed out."""
        return {"epoch": self._batches.sampler.epoch, "batches": self._handed_out}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let an iteration of the same epoch start after the batches of `state`."""
        self._handed_out = state["batches"]  # of a finished epoch nothing more is asked
        self._batches.resumed_epoch = state["epoch"]
        self._batches.resumed_batches = state["batches"]

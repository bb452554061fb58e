"""Which sample comes when: a pure function of (seed, epoch, index), and resumable in mid-epoch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.utils.data import Sampler

from unet_exp.data._handover import Handover
from unet_exp.data._loader import ShieldedLoader
from unet_exp.errors import ConfigError, UserError, counted

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


def share_of_batch(batch_size: int, processes: int) -> int:
    """Samples of a step that each of some processes gets.

    Raises:
        ConfigError: If the batch cannot be divided among them.
    """
    if batch_size % processes:
        below = batch_size - batch_size % processes
        fits = " or ".join(f"loader.batch_size={size}" for size in (below, below + processes) if size)
        raise ConfigError(
            [
                f"loader.batch_size: the {batch_size} samples of a step cannot be divided among {processes} processes. "
                f"Set {fits}, or use another number of devices."
            ]
        )
    return batch_size // processes


class EpochSampler(Sampler[SampleKey]):
    """Shuffled training samples; rank r of n takes every n-th one of a global order.

    The epoch travels with the index because persistent workers hold an old copy of the dataset. What does
    not fill a batch is left out. Ranks share every batch evenly, so a step sees the same samples on any number of them.
    Lightning calls `set_epoch`.

    Args:
        size: Number of samples of an epoch.
        seed: Seed of the order.
        batch_size: Samples of a step, of all ranks together; an epoch smaller than that is one batch.
    """

    def __init__(self, size: int, *, seed: int, batch_size: int) -> None:
        self.size = size
        self.seed = seed
        self.batch_size = batch_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration serves."""
        self.epoch = epoch

    @property
    def rank_batch_size(self) -> int:
        """Samples of a step on this rank.

        Raises:
            UserError: If the ranks cannot share a batch evenly.
        """
        _, world_size = rank_and_world_size()
        if self.size < self.batch_size and self.size % world_size:
            raise UserError(
                f"An epoch has {counted(self.size, 'sample')}, which {world_size} processes cannot share evenly. "
                + (f"Set loader.batch_size={fit}." if (fit := self.size - self.size % world_size) else "Use fewer.")
            )
        return share_of_batch(min(self.batch_size, self.size) or self.batch_size, world_size)

    def __len__(self) -> int:
        batch_size = self.rank_batch_size
        return max(1, self.size // self.batch_size) * batch_size if self.size else 0

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
        self.resumed_epoch = -1
        self.resumed_batches = 0

    @property
    def batch_size(self) -> int:
        """Samples of a batch on this rank."""
        return self.sampler.rank_batch_size

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

"""Batches travel from worker processes in shared memory that is used again and again.

torch shares every batch in new memory, which the kernel clears and maps page by page in both processes; on virtual
machines that takes longer than to make the batch. Here each worker keeps a few places and writes to one that is free.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

Batch = dict[str, Tensor]
Place = tuple[int, int]
"""Number of the worker, and of its place."""


@dataclass(frozen=True)
class Parcel:
    """What travels instead of a batch.

    Args:
        place: Where the batch is.
        tensors: The memory of that place, until the main process knows it.
    """

    place: Place
    tensors: Batch | None


class Handover:
    """Sends batches in a worker and receives them in the main process.

    Args:
        workers: Number of worker processes.
        places: Batches that each has under way at most; where there are more, torch shares them.
        pin: Whether batches are received in page-locked memory.
    """

    def __init__(self, workers: int, *, places: int, pin: bool) -> None:
        self._pin = pin
        self._tensors: dict[Place, Batch] = {}
        # Shared by all processes: the iteration, and for each place the iteration in which it was taken (0: it is
        # free) and whether the main process knows its memory.
        self._iteration = _shared(torch.zeros(1, dtype=torch.int64))
        self._taken = _shared(torch.zeros(workers, places, dtype=torch.int64))
        self._known = _shared(torch.zeros(workers, places, dtype=torch.bool))

    def begin(self) -> None:
        """Start an iteration in the main process: places of batches that nobody fetched are free again."""
        self._iteration += 1

    def send(self, batch: Batch) -> Batch | Parcel:
        """Collation in a worker: put a batch into a free place.

        Args:
            batch: Tensors of any shapes, the same ones in every batch.

        Returns:
            The place, or the batch itself where all are taken.
        """
        place = self._free_place()
        if place is None:
            return batch
        if place not in self._tensors:
            self._tensors[place] = {name: _shared(torch.empty_like(tensor)) for name, tensor in batch.items()}
        for name, tensor in self._tensors[place].items():
            if tensor.shape != batch[name].shape:
                return batch
            tensor.copy_(batch[name])
        self._taken[place] = self._iteration[0]
        return Parcel(place, None if self._known[place] else self._tensors[place])

    def receive(self, sent: Batch | Parcel) -> Batch:
        """Copy a batch out of its place in the main process, and free the place."""
        if not isinstance(sent, Parcel):
            return sent
        if sent.tensors is not None:
            self._tensors[sent.place] = sent.tensors
            self._known[sent.place] = True
        # Copied, because nobody can know for how long the batch, or a view of it, is kept.
        batch = {
            name: torch.empty_like(tensor, pin_memory=self._pin).copy_(tensor)
            for name, tensor in self._tensors[sent.place].items()
        }
        self._taken[sent.place] = 0
        return batch

    def _free_place(self) -> Place | None:
        worker = get_worker_info()
        if worker is None:
            return None
        iterations = self._taken[worker.id].tolist()
        free = (number for number, iteration in enumerate(iterations) if iteration != int(self._iteration))
        number = next(free, None)
        return None if number is None else (worker.id, number)


def _shared(tensor: Tensor) -> Tensor:
    tensor.share_memory_()  # type: ignore[no-untyped-call]
    return tensor

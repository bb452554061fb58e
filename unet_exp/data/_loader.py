"""Settings of the data loaders."""

import signal
from dataclasses import dataclass
from typing import Any

import cv2

from unet_exp.bounds import NonNegativeInt, PositiveInt


@dataclass(frozen=True, kw_only=True)
class LoaderSettings:
    """How batches are fetched; none of it changes what is in them.

    Args:
        batch_size: Training samples per device and optimiser step.
        num_workers: Processes that prepare samples; 0 prepares them in the main process.
        persistent_workers: Keep the processes from epoch to epoch.
        pin_memory: Page-locked memory, faster to copy to a GPU.
        prefetch_factor: Batches that each process prepares ahead.
    """

    batch_size: PositiveInt = 16
    num_workers: NonNegativeInt = 2
    persistent_workers: bool = True
    pin_memory: bool = False
    prefetch_factor: PositiveInt = 2

    def torch_arguments(self, *, persistent: bool) -> dict[str, Any]:
        """Arguments of `torch.utils.data.DataLoader` except for the batch size.

        Args:
            persistent: Whether this loader is iterated more than once.
        """
        arguments: dict[str, Any] = {"num_workers": self.num_workers, "pin_memory": self.pin_memory}
        if self.num_workers:
            arguments["worker_init_fn"] = _start_worker
            arguments["prefetch_factor"] = self.prefetch_factor
            arguments["persistent_workers"] = self.persistent_workers and persistent
        return arguments


def _start_worker(_worker: int) -> None:
    """Leave signals to the main process, which saves its state first and then ends the workers.

    Ctrl-C and a cluster's SIGTERM reach every process of the group; a worker that died of it would make the
    main process fail before it has saved anything.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)

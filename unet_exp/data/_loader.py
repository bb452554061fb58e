"""Settings of the data loaders."""

import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass
from typing import Any

import cv2
from torch.utils.data import DataLoader

from unet_exp.bounds import NonNegativeInt, PositiveInt

_LOOK_FOR_PARENT = 1.0
"""Seconds between two looks of a worker at whether the main process lives."""


@dataclass(frozen=True, kw_only=True)
class LoaderSettings:
    """How batches are fetched; none of it changes what is in them.

    Args:
        batch_size: Training samples of a step, shared evenly by all processes of a distributed training.
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


class ShieldedLoader(DataLoader[Any]):
    """A loader whose workers are born with signals blocked, so that none can die before `_start_worker` has run."""

    def _get_iterator(self) -> Any:
        signals = {signal.SIGINT, signal.SIGTERM}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            return super()._get_iterator()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(_worker: int) -> None:
    """Leave signals to the main process, which saves its state first and then ends the workers.

    Ctrl-C and a cluster's SIGTERM reach every process of the job; a worker that died of it would make the
    main process fail before it has saved anything. Only a SIGTERM of the main process itself ends a worker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigtimedwait"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()
    else:  # macOS cannot tell who has sent a signal
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    cv2.setNumThreads(0)


def _end_with_parent() -> None:
    """End when the main process says so, and when it is dead.

    torch looks for that too, but remembers its parent after this worker has started: of a main process that was killed
    before, it would wait for the next order forever, and hold the lock of the run folder.
    """
    parent = multiprocessing.parent_process()  # not os.getppid(): a fork server's workers have that as their parent
    while parent is None or parent.is_alive():
        received = signal.sigtimedwait({signal.SIGTERM}, _LOOK_FOR_PARENT)
        if received is not None and (parent is None or received.si_pid == parent.pid):
            break
    os._exit(0)

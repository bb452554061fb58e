"""The end of work that several processes share, the good one and the bad ones."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch import Trainer

from unet_exp.errors import UserError

_LOST = re.compile(r"gloo|NCCL|Connection (closed|reset) by peer|Timed out|TCPStore|Broken pipe", re.IGNORECASE)
_GRACE = 5.0
"""Seconds that processes have to end by themselves after the first one has failed."""


@contextmanager
def together(trainer: Trainer, advice: str) -> Iterator[None]:
    """Let all processes leave the block in order, or none of them stay behind when one has failed.

    Args:
        trainer: Runs something inside the block.
        advice: What the user can do when another process was lost.

    Raises:
        UserError: If another process has died, or has not answered within the timeout.
    """
    try:
        yield
        _leave(trainer)
    except RuntimeError as error:
        _end_processes(trainer)
        if trainer.world_size == 1 or not _LOST.search(str(error)):
            raise
        raise UserError(
            "Another process has died or does not answer; its own message, or the system's log (was memory short?), "
            f"says why. {advice} What was noticed here: {str(error).splitlines()[0][:200]}"
        ) from None
    except BaseException:
        _end_processes(trainer)
        raise


def _leave(trainer: Trainer) -> None:
    """Let all processes wait for the one that still writes, and take the connection down in order.

    A process that ends with open gloo connections may abort, and Lightning and torchrun then kill all others.
    """
    trainer.strategy.barrier()
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized() and distributed.get_backend() == "gloo":
        distributed.destroy_process_group()  # Lightning itself sees to that with NCCL only


def _end_processes(trainer: Trainer) -> None:
    """Kill the processes that Lightning has started from this one and that have not ended by themselves."""
    for process in getattr(trainer.strategy.launcher, "procs", None) or ():
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()

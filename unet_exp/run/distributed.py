"""The end of a distributed training."""

import torch
from lightning.pytorch import Trainer


def leave_together(trainer: Trainer) -> None:
    """Let all processes wait for the one that still draws, and take the connection down in order.

    A process that ends with open gloo connections may abort, and Lightning and torchrun then kill all others.
    """
    trainer.strategy.barrier()
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized() and distributed.get_backend() == "gloo":
        distributed.destroy_process_group()  # Lightning itself sees to that with NCCL only

"""How Lightning divides a training among processes."""

from datetime import timedelta

from lightning.pytorch.strategies import DDPStrategy

from unet_exp.bounds import PositiveFloat


def distributed_data_parallel(*, timeout_minutes: PositiveFloat = 30.0) -> DDPStrategy:
    """One process per device, each with the whole network and a part of every batch.

    Args:
        timeout_minutes: How long a process waits for another one that is alive but does not answer, before the training
            ends with an error. It must be longer than the first one takes to draw the pictures at the end.
    """
    return DDPStrategy(timeout=timedelta(minutes=timeout_minutes))

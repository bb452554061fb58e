"""When checkpoints are written."""

from dataclasses import dataclass

from unet_exp.bounds import PositiveFloat, PositiveInt


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
    """When ``last.ckpt`` is written besides after every epoch; it changes no result.

    Args:
        every_n_steps: After so many optimiser steps; None: no.
        every_minutes: When the last one is so old, in minutes; None: no.
    """

    every_n_steps: PositiveInt | None = None
    every_minutes: PositiveFloat | None = 15.0

"""The normalisation layers that a network can be built with."""

import math
from typing import Literal

from torch import nn

Norm = Literal["none", "batch", "instance", "group"]

MAX_GROUPS = 8


def normalization(norm: Norm, channels: int) -> nn.Module:
    """Builds the normalisation of ``channels`` feature maps; all but ``none`` learn a scale and a shift.

    ``group`` divides the channels into eight groups, or into the largest smaller number that divides both
    eight and ``channels``, so that every width is possible.
    """
    match norm:
        case "none":
            return nn.Identity()
        case "batch":
            return nn.BatchNorm2d(channels)
        case "instance":
            return nn.InstanceNorm2d(channels, affine=True)
        case "group":
            return nn.GroupNorm(math.gcd(MAX_GROUPS, channels), channels)
    raise ValueError(f"`norm` must be 'none', 'batch', 'instance' or 'group', but got {norm!r}.")

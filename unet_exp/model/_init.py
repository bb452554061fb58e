"""Weight initialisation: He et al., Delving Deep into Rectifiers, 2015, https://arxiv.org/abs/1502.01852."""

import math

from torch import nn


def he_normal_(network: nn.Module, negative_slope: float = 0.0) -> None:
    """Draws every convolution from N(0, 2 / ((1 + slope^2) * fan_in)) and sets its biases to zero, in place.

    ``fan_in`` is the number of inputs that reach one output. For a transposed convolution torch's own
    ``kaiming_normal_`` takes the number of *outputs* instead, so it is counted here.

    Args:
        network: Its convolutions are set, its normalisation layers are left as they are.
        negative_slope: Slope of the activation below zero: 0 for ReLU, 0.25 for a fresh PReLU.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            fan_in = module.in_channels // module.groups * math.prod(module.kernel_size)
            if isinstance(module, nn.ConvTranspose2d):  # each output sees only every stride-th weight
                fan_in //= math.prod(module.stride)
            nn.init.normal_(module.weight, std=math.sqrt(2 / ((1 + negative_slope**2) * fan_in)))
            if module.bias is not None:
                nn.init.zeros_(module.bias)

import math

import pytest
import torch
from torch import nn

from unet_exp.model.resunet import ResidualBlock, ResUNet


def modules_of(net, *kinds):
    return [module for module in net.modules() if isinstance(module, kinds)]


@pytest.mark.parametrize(("base_channels", "parameters"), [(64, 32_436_613), (32, 8_114_373), (21, 3_496_925)])
def test_parameter_count(base_channels, parameters):
    with torch.device("meta"):
        net = ResUNet(3, 5, base_channels=base_channels)
    slopes = sum(module.weight.numel() for module in modules_of(net, nn.PReLU))
    assert slopes == 92 * base_channels  # two of C channels per block: 2 * (2 * (1 + 2 + 4 + 8) + 16) * base
    assert sum(weight.numel() for weight in net.parameters()) - slopes == parameters


def test_has_32_convolutions_in_five_levels():
    with torch.device("meta"):
        net = ResUNet(5, 3)
    assert len(modules_of(net, nn.Conv2d, nn.ConvTranspose2d)) == 32
    assert len(modules_of(net, ResidualBlock)) == 9
    assert not modules_of(net, nn.ReLU, nn.LeakyReLU)


def test_feature_map_named_in_the_paper():
    """128 channels of 160x160 for an input of 320x320."""
    with torch.device("meta"):
        net = ResUNet(5, 3)
        shapes = []
        net.encoder[1].register_forward_hook(lambda _module, _inputs, output: shapes.append(output.shape))
        net(torch.empty(1, 5, 320, 320))
    assert shapes == [(1, 128, 160, 160)]


def test_block_is_a_residual():
    block = ResidualBlock(4, 6).eval()
    nn.init.zeros_(block.body[3].weight)  # then only the projection is left
    x = torch.randn(2, 4, 8, 8)
    projected = block.projection(x)
    torch.testing.assert_close(block(x), torch.where(projected > 0, projected, 0.25 * projected))


def test_initial_weights_respect_the_slope_of_prelu():
    conv = ResUNet(3, 2, base_channels=32, depth=2).encoder[2].body[0]  # 64 -> 128 channels
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / (1.0625 * 9 * 64)), rel=0.02)

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unet_exp.model.attention_unet import AttentionGate, AttentionUNet
from unet_exp.model.unet import UNet

UNET_PARAMETERS = 31_037_893  # of a UNet with batch norm for RGB and five classes


def gates(channels):
    """W_x of 2x2 without bias, W_g of 1x1 from twice the channels, psi."""
    return sum(4 * c * c + (2 * c * c + c) + (c + 1) for c in channels)


@pytest.mark.parametrize(("gate_finest", "gated"), [(False, [128, 256, 512]), (True, [64, 128, 256, 512])])
def test_parameter_count_is_that_of_a_unet_and_its_gates(gate_finest, gated):
    with torch.device("meta"):
        net = AttentionUNet(3, 5, gate_finest=gate_finest)
    assert sum(weight.numel() for weight in net.parameters()) == UNET_PARAMETERS + gates(gated)


def test_gate_is_the_equation_of_the_paper():
    torch.manual_seed(0)
    gate = AttentionGate(3, 5).double()
    skip, coarse = torch.randn(2, 3, 8, 6, dtype=torch.double), torch.randn(2, 5, 4, 3, dtype=torch.double)
    patches = skip.reshape(2, 3, 4, 2, 3, 2)  # rows and columns of 2x2 patches
    of_skip = torch.einsum("ncyaxb,dcab->ndyx", patches, gate.skip.weight)
    of_coarse = torch.einsum("ncyx,dc->ndyx", coarse, gate.coarse.weight[..., 0, 0]) + gate.coarse.bias.view(-1, 1, 1)
    score = torch.einsum("ncyx,c->nyx", (of_skip + of_coarse).clamp(min=0), gate.score.weight[0, :, 0, 0])
    alpha = 1 / (1 + torch.exp(-(score + gate.score.bias)))
    assert alpha.shape == (2, 4, 3)
    alpha = F.interpolate(alpha[:, None], (8, 6), mode="bilinear", align_corners=False)
    torch.testing.assert_close(gate(skip, coarse), skip * alpha)


def with_gates(bias):
    """An attention UNet all of whose gates are open (large bias) or closed (small bias), and a UNet of its weights."""
    torch.manual_seed(0)
    size = {"base_channels": 4, "depth": 3}
    net = AttentionUNet(3, 2, gate_finest=True, **size)
    for gate in net.gates:
        nn.init.constant_(gate.score.bias, bias)
    plain = UNet(3, 2, padding="same", norm="batch", dropout=0.0, **size)
    for part in ("encoder", "ups", "decoder", "heads"):
        pairs = zip(getattr(plain, part).parameters(), getattr(net, part).parameters(), strict=True)
        for weight, source in pairs:
            weight.data.copy_(source)
    return net, plain


def test_open_gates_make_a_unet():
    net, plain = with_gates(1e4)
    image = torch.randn(2, 3, 32, 40)
    torch.testing.assert_close(net(image), plain(image))


def test_closed_gates_leave_the_bottleneck_only():
    net, plain = with_gates(-1e4)
    for block in plain.decoder:
        first = block[0].weight.data
        first[:, : first.shape[1] // 2] = 0  # the skip connection comes first
    image = torch.randn(2, 3, 32, 40)
    torch.testing.assert_close(net(image), plain(image))

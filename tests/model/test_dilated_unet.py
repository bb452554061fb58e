import pytest
import torch
from torch import nn

from unet_exp.model.dilated_unet import DilatedUNet, DrdBlock, ParallelBlock
from unet_exp.model.unet import UNet

UNET_PARAMETERS = 7_697_605  # of a UNet of depth 3 without normalisation for RGB and five classes


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("dilations", [(1, 2, 3), (1, 2, 3, 5, 7)])
@pytest.mark.parametrize("where", ["input", "all"])
def test_parameter_count_of_a_unet_with_more_branches(where, dilations):
    with torch.device("meta"):
        net = DilatedUNet(3, 5, where=where, dilations=dilations)
    branch = [9 * narrow * wide + wide for narrow, wide in [(3, 64), (64, 128), (128, 256), (256, 512)]]
    further = (len(dilations) - 1) * sum(branch if where == "all" else branch[:1])
    assert sum(weight.numel() for weight in net.parameters()) == UNET_PARAMETERS + further


def test_one_branch_without_gaps_is_a_unet():
    size = {"base_channels": 4, "depth": 3, "norm": "batch"}
    net = DilatedUNet(3, 2, dilations=[1], **size)
    plain = UNet(3, 2, padding="same", dropout=0.0, **size)
    for weight, source in zip(plain.parameters(), net.parameters(), strict=True):
        weight.data.copy_(source)
    image = torch.randn(2, 3, 32, 40)
    torch.testing.assert_close(net(image), plain(image))


def test_branches_see_different_distances():
    """Of a single bright pixel each branch makes nine, `dilation` apart; the mean has all of them."""
    dilations = (1, 2, 5)
    block = ParallelBlock(1, 1, dilations=dilations, norm="none")
    block.joined = nn.Identity()
    for branch in block.branches:
        nn.init.ones_(branch[0].weight)
        nn.init.zeros_(branch[0].bias)
    image = torch.zeros(1, 1, 13, 13)
    image[..., 6, 6] = 1
    expected = torch.zeros(13, 13)
    for dilation in dilations:
        for y in (-dilation, 0, dilation):
            for x in (-dilation, 0, dilation):
                expected[6 + y, 6 + x] += 1
    torch.testing.assert_close(block(image)[0, 0], expected / 3)
    assert expected[6, 6] == 3


def test_drd_convolutions_see_all_before_them():
    block = DrdBlock(5, 12, dilations=[1, 2, 4], norm="batch")
    convolutions = [module[0] for module in block.dense]
    assert [conv.in_channels for conv in convolutions] == [12, 16, 20]
    assert [conv.out_channels for conv in convolutions] == [4, 4, 4]
    assert [conv.dilation for conv in convolutions] == [(1, 1), (2, 2), (4, 4)]
    assert block.fusion[0].in_channels == 24
    assert block(torch.randn(2, 5, 9, 7)).shape == (2, 12, 9, 7)


def test_drd_is_residual():
    block = DrdBlock(5, 12, dilations=[1, 2, 4], norm="batch").eval()
    nn.init.zeros_(block.fusion[0].weight)
    x = torch.randn(2, 5, 9, 7)
    torch.testing.assert_close(block(x), block.projection(x))


@pytest.mark.parametrize(("block", "kind"), [("parallel", ParallelBlock), ("drd", DrdBlock)])
@pytest.mark.parametrize(("where", "number"), [("input", 1), ("all", 4)])
def test_levels_that_have_the_block(block, kind, where, number):
    net = DilatedUNet(3, 2, base_channels=4.7, block=block, where=where, supervision_weights=[1, 0.5])
    assert [isinstance(module, kind) for module in net.encoder] == [level < number for level in range(4)]
    prediction = net(torch.randn(1, 3, 33, 20))
    assert [logits.shape for logits in prediction] == [(1, 2, 33, 20), (1, 2, 17, 10)]
    sum(logits.square().mean() for logits in prediction).backward()
    assert all(weight.grad is not None for weight in net.parameters())


def test_no_branches():
    with pytest.raises(ValueError, match=r"`dilations` is empty: give one per branch"):
        DilatedUNet(3, 2, dilations=[])

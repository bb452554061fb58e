import pytest
import torch
from torch import nn

from unet_exp.model.resenc_unet import ResEncUNet, ResidualBlock


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_parameter_count_of_the_plans_of_nnunet():
    """The library's for 256x256 RGB and five classes, without what it has in addition."""
    with torch.device("meta"):
        net = ResEncUNet(3, 5)
    coarse_heads = (64 + 128 + 256 + 512 + 512) * 5 + 5 * 5
    blocks = 1 * 32 + 3 * 64 + 4 * 128 + 6 * (256 + 512 + 512 + 512)
    cancelled_biases = 32 + 2 * blocks + (512 + 512 + 256 + 128 + 64 + 32)
    assert sum(weight.numel() for weight in net.parameters()) == 105_921_918 - coarse_heads - cancelled_biases


def test_blocks_and_widths():
    with torch.device("meta"):
        net = ResEncUNet(3, 5)
    assert [len(stage) for stage in net.encoder.levels] == [1, 3, 4, 6, 6, 6, 6]
    assert [stage[0].second[0].out_channels for stage in net.encoder.levels] == [32, 64, 128, 256, 512, 512, 512]


def test_fewer_levels_than_numbers_of_blocks():
    net = ResEncUNet(3, 2, base_channels=2, depth=1, blocks_per_stage=[2, 1, 5])
    assert [len(stage) for stage in net.encoder.levels] == [2, 1]


@pytest.mark.parametrize(("narrow", "stride"), [(4, 1), (4, 2), (6, 1), (6, 2)])
def test_fresh_block_is_its_shortcut(narrow, stride):
    block = ResidualBlock(narrow, 6, stride=stride, norm="instance")
    block.start_as_shortcut()
    x = torch.randn(2, narrow, 8, 8)
    pooled = x if stride == 1 else x.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5))
    shortcut = pooled if narrow == 6 else block.shortcut[-1](pooled)
    torch.testing.assert_close(block(x), torch.where(shortcut > 0, shortcut, 0.01 * shortcut))


def test_without_normalisation_nothing_starts_at_zero():
    net = ResEncUNet(3, 2, base_channels=4, depth=2, norm="none")
    assert all(module.weight.any() for module in net.modules() if isinstance(module, nn.Conv2d))


def test_no_blocks():
    with pytest.raises(ValueError, match=r"`blocks_per_stage` is empty"):
        ResEncUNet(3, 2, blocks_per_stage=[])


def library_network(widths, blocks):
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    levels = len(widths)
    return unet.ResidualEncoderUNet(
        input_channels=3,
        n_stages=levels,
        features_per_stage=widths,
        conv_op=nn.Conv2d,
        kernel_sizes=3,
        strides=[1] + [2] * (levels - 1),
        n_blocks_per_stage=blocks,
        num_classes=5,
        n_conv_per_stage_decoder=1,
        conv_bias=True,
        norm_op=nn.InstanceNorm2d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    )


def copy_library_weights(net, library):
    """Blocks of both are called in the same order; within them the parts have other names."""

    def copy(layers, unit):
        for name in ("weight", "bias"):
            for layer, source in zip(layers, (unit.conv, unit.norm), strict=False):
                if getattr(layer, name) is not None:
                    getattr(layer, name).data.copy_(getattr(source, name))

    copy(net.stem, library.encoder.stem.convs[0])
    for stage, source in zip(net.encoder.levels, library.encoder.stages, strict=True):
        for block, original in zip(stage, source.blocks, strict=True):
            copy(block.first, original.conv1)
            copy(block.second, original.conv2)
            if block.shortcut and isinstance(block.shortcut[-1], nn.Sequential):
                copy(block.shortcut[-1], original.skip[-1])
    decoder = library.decoder
    for level, up, stage in zip(reversed(net.decoder.levels), decoder.transpconvs, decoder.stages, strict=True):
        level.up.load_state_dict(up.state_dict())
        copy(level.convolutions[0], stage.convs[0])
    heads = [net.heads.summed[0], *net.heads.separate.values()]
    for head, source in zip(heads, reversed(decoder.seg_layers), strict=True):
        head.load_state_dict(source.state_dict())


def test_same_answers_as_the_library():
    library = library_network([4, 8, 16, 24, 24], [1, 3, 4, 6, 6])
    library.apply(library.initialize)
    for weight in library.parameters():  # all of them, the scales that start at zero too
        weight.data.add_(0.1 * torch.randn_like(weight))
    net = ResEncUNet(3, 5, base_channels=4, channel_cap=6, depth=4, supervision_weights=[1, 0.5, 0.25, 0.125])
    copy_library_weights(net, library)
    image = torch.randn(2, 3, 64, 96)
    for logits, expected in zip(net(image), library(image), strict=True):
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)

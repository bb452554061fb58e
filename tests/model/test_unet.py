import math

import pytest
import torch
from torch import nn

from unet_exp.model.unet import UNet

TINY = {"base_channels": 4, "dropout": 0.0}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def count(net):
    return sum(weight.numel() for weight in net.parameters())


@pytest.mark.parametrize(
    ("parameters", "in_channels", "num_classes", "arguments"),
    [
        (31_030_658, 1, 2, {}),
        (31_100_354, 1, 2, {"caffe_release": True}),
        (31_031_810, 3, 2, {"padding": "same"}),
        (31_031_745, 3, 1, {"padding": "same"}),
        (31_032_005, 3, 5, {"padding": "same"}),
        (31_037_698, 3, 2, {"padding": "same", "norm": "batch"}),
        (7_697_605, 3, 5, {"padding": "same", "depth": 3}),
    ],
)
def test_parameter_count(parameters, in_channels, num_classes, arguments):
    with torch.device("meta"):
        assert count(UNet(in_channels, num_classes, **arguments)) == parameters


def test_has_23_convolutions():
    with torch.device("meta"):
        net = UNet(1, 2)
    assert sum(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in net.modules()) == 23


def test_geometry_of_figure_1():
    with torch.device("meta"):
        net = UNet(1, 2, supervision_weights=[1, 1, 1, 1])
        image = torch.empty(1, 1, 572, 572)
        assert [logits.shape[-1] for logits in net.train()(image)] == [388, 196, 100, 52]
        assert net.eval()(image).shape == (1, 2, 388, 388)


@pytest.mark.parametrize("k", [8, 9, 13, 32])
def test_valid_sizes_are_16k_plus_60(k):
    size = 16 * k + 60
    with torch.device("meta"):
        net = UNet(1, 2, base_channels=2)
        assert net(torch.empty(1, 1, size, 188)).shape == (1, 2, size - 184, 4)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((572, 570), r"16k \+ 60 pixels with k >= 8, but got width 570: resize or crop to 556 or 572 pixels"),
        ((571, 572), r"got height 571: resize or crop to 556 or 572"),
        ((172, 188), r"got height 172: resize or crop to 188 or 204"),
        ((16, 16), r"got height 16: resize or crop to 188 or 204"),
    ],
)
def test_other_valid_sizes_are_refused(size, message):
    with pytest.raises(ValueError, match=message):
        UNet(1, 2, **TINY)(torch.rand(1, 1, *size))


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_every_suggested_valid_size_is_legal(depth):
    with torch.device("meta"):
        net = UNet(1, 2, base_channels=2, depth=depth)
        smallest = 2**depth * 12 - 4
        with pytest.raises(ValueError, match=f"crop to {smallest} or {smallest + 2**depth} pixels"):
            net(torch.empty(1, 1, smallest - 1, smallest))
        for size in (smallest, smallest + 2**depth):
            assert net(torch.empty(1, 1, size, size)).shape[-1] > 0


@pytest.mark.parametrize("segmentation_levels", [1, 3])
def test_valid_tile_equals_its_place_in_a_larger_image(segmentation_levels):
    """The paper's overlap-tile strategy."""
    net = UNet(1, 2, **TINY, segmentation_levels=segmentation_levels).eval()
    image = torch.rand(1, 1, 220, 220)
    whole = net(image)
    tile = net(image[..., 16:, 16:])
    torch.testing.assert_close(tile, whole[..., 16:, 16:], rtol=1e-4, atol=1e-4)


def test_valid_skips_are_cropped_at_the_centre():
    """With mirror-symmetric kernels a mirrored image has mirrored logits, unless a skip is off centre."""
    net = UNet(1, 2, **TINY, depth=2, segmentation_levels=2).eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    image = torch.rand(1, 1, 60, 60)
    torch.testing.assert_close(net(image.flip(-1)), net(image).flip(-1))
    torch.testing.assert_close(net(image.flip(-2)), net(image).flip(-2))


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("norm", ["none", "batch", "instance", "group"])
@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
@pytest.mark.parametrize("caffe_release", [False, True])
def test_every_combination_trains(padding, norm, upsampling, caffe_release):
    net = UNet(
        1,
        2,
        base_channels=4,
        depth=2,
        padding=padding,
        norm=norm,
        upsampling=upsampling,
        caffe_release=caffe_release,
        supervision_weights=[1, 0.5],
    )
    outputs = net(torch.rand(2, 1, 44, 48))
    assert [tuple(logits.shape[-2:]) for logits in outputs] == (
        [(4, 8), (4, 6)] if padding == "valid" else [(44, 48), (22, 24)]
    )
    sum(logits.square().mean() for logits in outputs).backward()
    assert all(weight.grad is not None for weight in net.parameters())


@pytest.mark.parametrize("norm", ["none", "batch", "instance", "group"])
def test_convolutions_before_a_norm_have_no_bias(norm):
    net = UNet(1, 2, base_channels=4, norm=norm)
    for block in [*net.encoder, *net.decoder]:
        assert (block[0].bias is None) == (block[3].bias is None) == (norm != "none")
    assert all(up.bias is not None for up in net.ups)


def test_dropout_is_at_the_two_deepest_encoder_levels():
    net = UNet(1, 2, base_channels=4)
    assert [block[-1].p for block in net.encoder] == [0, 0, 0, 0.5, 0.5]
    assert [block[-1].p for block in net.decoder] == [0, 0, 0, 0]
    level = net.encoder[3].train()
    image = torch.randn(4, 16, 20, 20)
    zeros = (level(image) == 0).float().mean().item()
    zeros_of_relu = (level.eval()(image) == 0).float().mean().item()
    assert zeros == pytest.approx(zeros_of_relu + 0.5 * (1 - zeros_of_relu), abs=0.02)


def test_initial_weights_are_he_normal():
    net = UNet(3, 2, base_channels=32, depth=2)
    conv = net.encoder[2][0]  # 64 -> 128 channels
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02)
    up = net.ups[0]  # 128 -> 64 channels; one weight per input channel reaches an output
    assert up.weight.std().item() == pytest.approx(math.sqrt(2 / 128), rel=0.02)
    assert abs(conv.weight.mean().item()) < 1e-3
    assert all(not module.bias.any() for module in net.modules() if isinstance(module, nn.Conv2d))


def test_initial_activations_keep_their_size():
    """What He initialisation is for: the variance neither vanishes nor explodes over 23 layers."""
    net = UNet(1, 2, base_channels=16, padding="same").eval()
    assert 0.1 < net(torch.randn(1, 1, 64, 64)).std() < 10


def test_bilinear_upsampling_interpolates():
    up = UNet(1, 2, **TINY, upsampling="bilinear").ups[0]
    features = torch.rand(1, 64, 5, 7)
    expected = up[0](nn.functional.interpolate(features, scale_factor=2, mode="bilinear"))
    torch.testing.assert_close(up(features), expected, rtol=1e-4, atol=1e-5)  # the order does not matter

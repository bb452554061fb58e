import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unet_exp.model._init import he_normal_
from unet_exp.model._norm import normalization
from unet_exp.model._padding import center_crop, crop_to_scale, pad_to_stride
from unet_exp.model._supervision import SegmentationHeads, supervised_scales


@pytest.mark.parametrize(
    ("size", "padded"),
    [
        ((32, 48), (32, 48)),
        ((33, 47), (48, 48)),
        ((16, 16), (32, 32)),  # a 1x1 bottleneck has no statistics
        ((5, 7), (32, 32)),
        ((1, 100), (32, 112)),
    ],
)
def test_pad_to_stride(size, padded):
    image = torch.rand(1, 2, *size)
    result = pad_to_stride(image, 16)
    assert result.shape == (1, 2, *padded)
    assert torch.equal(crop_to_scale(result, size, 0), image)
    assert torch.equal(result[..., -1, -1], image[..., -1, -1])  # the corner is repeated


def test_pad_to_stride_returns_a_fitting_image_itself():
    image = torch.rand(1, 2, 32, 32)
    assert pad_to_stride(image, 16) is image


@pytest.mark.parametrize(("scale", "size"), [(0, (33, 47)), (1, (17, 24)), (2, (9, 12)), (4, (3, 3))])
def test_crop_to_scale_rounds_up(scale, size):
    assert crop_to_scale(torch.rand(1, 1, 48, 48), (33, 47), scale).shape[-2:] == size


def test_center_crop():
    image = torch.arange(36.0).reshape(1, 1, 6, 6)
    assert torch.equal(center_crop(image, (2, 4)), image[..., 2:4, 1:5])
    assert torch.equal(center_crop(image, (6, 6)), image)


@pytest.mark.parametrize(("channels", "groups"), [(64, 8), (22, 2), (12, 4), (21, 1)])
def test_group_norm_divides_any_width(channels, groups):
    assert normalization("group", channels).num_groups == groups


@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
def test_norms_have_a_scale_and_a_shift(norm):
    assert [weight.numel() for weight in normalization(norm, 8).parameters()] == [8, 8]


def test_unknown_norm():
    with pytest.raises(ValueError, match="`norm` must be 'none', 'batch', 'instance' or 'group', but got 'layer'"):
        normalization("layer", 8)


def test_he_normal_leaves_other_layers_alone():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4))
    he_normal_(network)
    assert torch.equal(network[1].weight, torch.ones(4))
    assert torch.equal(network[2].weight, torch.full((4,), 0.25))
    assert not network[0].bias.any()


@pytest.mark.parametrize(("weights", "scales"), [([1], (0,)), ([1, 0, 0.25], (0, 2)), ([0.5, 0.5, 0], (0, 1))])
def test_supervised_scales(weights, scales):
    assert supervised_scales(weights, 3) == scales


def pyramid(channels=(2, 4, 6, 8)):
    return [torch.rand(1, width, 32 // 2**scale, 32 // 2**scale) for scale, width in enumerate(channels)]


def test_heads_add_up_the_upsampled_logits():
    features = pyramid()
    output = nn.Conv2d(3, 3, 1)
    heads = SegmentationHeads(
        [2, 4, 6, 8], 3, [1, 0.5, 0, 0.1], segmentation_levels=3, activation=nn.LeakyReLU(0.1), output=output
    )
    own = [F.leaky_relu(layer(x), 0.1) for layer, x in zip(heads.summed, features[:3], strict=True)]
    half = own[1] + own[2].repeat_interleave(2, -1).repeat_interleave(2, -2)
    full = own[0] + half.repeat_interleave(2, -1).repeat_interleave(2, -2)
    expected = [output(full), output(half), heads.separate["3"](features[3])]
    for logits, wanted in zip(heads(features, (32, 32)), expected, strict=True):
        torch.testing.assert_close(logits, wanted)
    torch.testing.assert_close(heads.eval()(features, (32, 32)), expected[0])


def test_heads_do_not_add_by_default():
    features = pyramid()
    heads = SegmentationHeads([2, 4, 6, 8], 3, [1, 0.5])
    full, half = heads(features, (31, 29))
    torch.testing.assert_close(full, heads.summed[0](features[0])[..., :31, :29])
    torch.testing.assert_close(half, heads.separate["1"](features[1])[..., :16, :15])

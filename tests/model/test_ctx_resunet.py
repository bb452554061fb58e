"""CtxResUNet: the parts that can be switched off, and the alignment of image and surroundings."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from unet_exp.data._context import ContextLevel, coarsen
from unet_exp.data._store import StoredCase
from unet_exp.model._padding import pad_mirrored
from unet_exp.model._residual import ParallelDilation, ResidualBlock
from unet_exp.model.ctx_resunet import CtxResUNet

SIZE, MARGIN = 64, 96  # a patch, and how far surroundings of 64 pixels, four times coarser, reach beyond it


def build_network(**arguments) -> CtxResUNet:
    torch.manual_seed(0)
    return CtxResUNet(3, 5, **{"base_channels": 4, "context_margin": MARGIN} | arguments)


def counts(network: CtxResUNet) -> tuple[int, float]:
    sizes = [torch.zeros(1, 3, 256, 256) for _ in range(2 if network.context else 1)]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(*sizes)
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() / 2e9


def hand_counted(base: int, blocks: tuple[int, ...], classes: int) -> tuple[int, float]:
    """Parameters and GMACs at 256x256 of the network without context and dilation, added up layer by layer."""
    widths = [base, 2 * base, 4 * base, 8 * base, 8 * base]
    parameters, macs, before = 0, 0, 3
    for level, width in enumerate(widths):
        pixels = (256 >> level) ** 2
        for block in range(blocks[level]):
            weights = 9 * before * width + 9 * width * width
            shortcut = before * width if before != width else 0
            parameters += weights + shortcut + (2 + bool(shortcut)) * 2 * width
            macs += pixels * (weights + shortcut)
            before = width
            assert block >= 0
    for level in range(4):
        fine, coarse, pixels = widths[level], widths[level + 1], (256 >> level) ** 2
        parameters += 4 * coarse * fine + fine + 18 * fine * fine + 2 * fine
        macs += pixels * (coarse * fine + 18 * fine * fine)
    return parameters + base * classes + classes, (macs + 256**2 * base * classes) / 1e9


@pytest.mark.parametrize("blocks", [(1, 1, 1, 2, 1), (1, 1, 2, 2, 1)])
def test_counts_equal_those_added_up_by_hand(blocks):
    network = CtxResUNet(3, 5, base_channels=22, blocks=blocks, dilations=(), context_factor=0)
    parameters, gmacs = hand_counted(22, blocks, 5)
    assert counts(network)[0] == parameters
    assert counts(network)[1] == pytest.approx(gmacs)


def test_the_whole_network_costs_what_the_proposal_says():
    """science: 5.45 GMACs with a base of 22 and a context branch of base 10."""
    assert counts(CtxResUNet(3, 5))[1] == pytest.approx(5.5, rel=0.03)


def test_every_part_can_be_switched_off():
    whole = counts(build_network(context_weight=0.5))
    for off in ({"residual": False}, {"dilations": ()}, {"context_factor": 0}, {"context_weight": 0.0}):
        assert counts(build_network(**{"context_weight": 0.5} | off))[0] < whole[0], off


def test_features_of_the_surroundings_lie_where_the_image_is():
    """Both branches see one field; the window's crop of the context features is that of its place in the field."""
    network = build_network(context_margin=0).eval()
    field = torch.randn(1, 3, SIZE + 2 * MARGIN, SIZE + 2 * MARGIN)
    around = F.avg_pool2d(field, 4)
    with torch.no_grad():
        features = network._context_features(around)
        inside = network._within(features, around, field[..., MARGIN:-MARGIN, MARGIN:-MARGIN])
        whole = network._within(features, around, field)
    assert torch.equal(whole, features)
    first = MARGIN // 16
    assert torch.equal(inside, features[..., first : first + SIZE // 16, first : first + SIZE // 16])


@pytest.mark.parametrize("place", [(0, 0), (96, 128), (192, 0)])
def test_surroundings_made_from_an_image_are_those_that_a_patch_is_served(place):
    """Also beyond the border, where both mirror."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    labels = np.zeros((256, 256), np.uint8)
    coarse, coarse_labels = coarsen(image, labels, 4, 255)
    level = ContextLevel(4, [StoredCase(coarse, coarse_labels, np.zeros(5, np.int64), ())])
    served = level.crop(0, *place, SIZE, 255)["image_x4"]
    whole = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    made = pad_mirrored(F.avg_pool2d(whole, 4), MARGIN // 4)
    top, left = (side // 4 for side in place)
    crop = made[0, :, top : top + SIZE, left : left + SIZE].permute(1, 2, 0)
    assert (crop - torch.from_numpy(served).float()).abs().max() <= 0.5  # of rounding to bytes


@pytest.mark.parametrize("margin", [0, 1, 5, 17])
def test_mirroring_is_numpys_symmetric_padding(margin):
    image = torch.arange(2 * 3 * 4 * 5).float().view(2, 3, 4, 5)
    expected = np.pad(image.numpy(), ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode="symmetric")
    assert np.array_equal(pad_mirrored(image, margin).numpy(), expected)


def test_the_context_changes_the_prediction_and_is_made_from_the_image_where_it_is_not_given():
    network = build_network(context_margin=0).eval()
    image = torch.randn(1, 3, SIZE, SIZE)
    with torch.no_grad():
        alone = network(image)
        assert torch.equal(alone, network(image, F.avg_pool2d(image, 4)))
        assert not torch.allclose(alone, network(image, torch.randn(1, 3, SIZE, SIZE)))


def test_the_context_branch_predicts_its_own_surroundings_in_training():
    network = build_network(context_weight=0.5, supervision_weights=(1.0, 0.5))
    image, context = torch.randn(2, 3, SIZE, SIZE), torch.randn(2, 3, SIZE, SIZE)
    shapes = [tuple(logits.shape[-2:]) for logits in network.train()(image, context)]
    assert shapes == [(64, 64), (32, 32), (16, 16)]  # the last: 256 pixels at a sixteenth
    assert network.eval()(image, context).shape == (2, 5, SIZE, SIZE)


def test_some_images_are_trained_on_without_their_surroundings():
    network = build_network(norm="none", context_dropout=0.5).train()
    image, one, other = (torch.randn(32, 3, SIZE, SIZE) for _ in range(3))
    outputs = []
    for context in (one, other):
        torch.manual_seed(1)  # the same images are chosen
        outputs.append(network(image, context))
    blind = (outputs[0] == outputs[1]).flatten(1).all(1)
    assert 6 < blind.sum() < 26
    network.eval()
    assert not torch.equal(network(image, one), network(image, other))


class TestPlacebo:
    def test_it_costs_the_same(self):
        assert counts(build_network()) == counts(build_network(context_placebo=True))

    def test_the_surroundings_are_those_of_the_next_image_of_the_batch(self):
        real, placebo = build_network(norm="none"), build_network(norm="none", context_placebo=True)
        image, context = torch.randn(3, 3, SIZE, SIZE), torch.randn(3, 3, SIZE, SIZE)
        assert torch.allclose(placebo.train()(image, context), real.train()(image, context[[2, 0, 1]]), atol=1e-6)

    def test_what_is_predicted_of_them_is_held_against_their_own_labels(self):
        arguments = {"norm": "none", "context_weight": 0.5}
        real, placebo = build_network(**arguments), build_network(context_placebo=True, **arguments)
        image, context = torch.randn(3, 3, SIZE, SIZE), torch.randn(3, 3, SIZE, SIZE)
        assert torch.allclose(placebo.train()(image, context)[-1], real.train()(image, context)[-1], atol=1e-6)

    def test_a_single_image_gets_surroundings_from_elsewhere(self):
        real, placebo = build_network(), build_network(context_placebo=True)
        image, context = torch.randn(1, 3, SIZE, SIZE), torch.randn(1, 3, SIZE, SIZE)
        rolled = context.roll((32, 32), (-2, -1))
        assert torch.equal(placebo.eval()(image, context), real.eval()(image, rolled))


def test_a_residual_block_with_zeroed_convolutions_passes_its_input():
    block = ResidualBlock(4, 4, stride=1, norm="none")
    torch.nn.init.zeros_(block.second[0].weight)
    torch.nn.init.zeros_(block.second[0].bias)
    x = torch.rand(1, 4, 8, 8)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_parallel_dilation_reaches_as_far_as_its_dilation(dilation):
    torch.manual_seed(0)
    module = ParallelDilation(2, (dilation,), norm="none")
    x = torch.zeros(1, 2, 17, 17, requires_grad=True)
    module(x)[0, :, 8, 8].sum().backward()
    rows, columns = x.grad.abs().sum((0, 1)).nonzero().T
    assert set(rows.tolist()) == set(columns.tolist()) == {8 - dilation, 8, 8 + dilation}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blocks": ()}, "`blocks` is empty"),
        ({"context_factor": 3}, "a power of two from 2 to 16"),
        ({"context_factor": 32}, "a power of two from 2 to 16"),
        ({"context_margin": 24}, "must be a multiple of 16"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_network(**arguments)

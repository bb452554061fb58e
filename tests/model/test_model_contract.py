"""What every network in conf/model promises."""

import inspect
from typing import get_args, get_type_hints

import pytest
import torch
from hydra.utils import get_class
from omegaconf import OmegaConf
from pydantic import TypeAdapter
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from unet_exp.bounds import PositiveFloat

SUPERVISION = [(1.0,), (1.0, 0.5), (1.0, 0.0, 0.25), (1.0, 0.5, 0.25, 0.125)]

# At the published width, by file: classes, parameters without those of PReLU, 1e9 multiply-accumulates for an
# RGB image of 256x256 pixels.
PUBLISHED = {
    "unet": (5, 31_037_893, 48.18),
    "resunet": (5, 32_436_613, 50.88),
    "improved_unet": (1, 2_776_277, 4.63),
    "improved_unet_isensee": (1, 3_205_715, 5.59),
}

# Networks of one scale only, which refuse deep supervision, and those whose library cannot be built shallower.
ONE_SCALE = {"smp_unet"}
SMALLEST_DEPTH = {"ctx_resunet": 2, "monai_dynunet": 2, "smp_unet": 3}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def need_arguments(model_config, model_name, **arguments):
    """Skips a test of something that this network cannot vary."""
    missing = arguments.keys() - model_config(model_name).keys()
    if missing:
        pytest.skip(f"{model_name} has no {missing}")
    return arguments


def need_scales(model_name, weights):
    """Skips deep supervision of a network that has none."""
    if model_name in ONE_SCALE and any(weights[1:]):
        pytest.skip(f"{model_name} has no deep supervision")


def ceil_halved(size, times):
    return tuple(-(-side // 2**times) for side in size)


def as_list(prediction):
    return prediction if isinstance(prediction, list) else [prediction]


def backward(net, image):
    sum(logits.square().mean() for logits in as_list(net(image))).backward()


@pytest.mark.parametrize("num_classes", [1, 5])
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (16, 16), (5, 7), (1, 1)])
def test_output_has_the_size_of_the_image(build, model_name, num_classes, size):
    net = build(model_name, num_classes=num_classes)
    image = torch.rand(1, 3, *size)
    assert net.train()(image).shape == (1, num_classes, *size)
    logits = net.eval()(image)
    assert logits.shape == (1, num_classes, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("in_channels", [1, 5])
def test_any_number_of_input_channels(build, model_name, in_channels):
    net = build(model_name, in_channels=in_channels)
    assert net(torch.rand(2, in_channels, 32, 32)).shape == (2, 2, 32, 32)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_any_depth(build, model_config, model_name, depth):
    if depth < SMALLEST_DEPTH.get(model_name, 1):
        pytest.skip(f"{model_name} is deeper")
    one_level = {"segmentation_levels": 1} if "segmentation_levels" in model_config(model_name) else {}
    net = build(model_name, base_channels=2, depth=depth, **one_level)
    assert net(torch.rand(2, 3, 31, 40)).shape == (2, 2, 31, 40)


def annotation(model_config, model_name, argument):
    return get_type_hints(get_class(model_config(model_name)._target_).__init__, include_extras=True).get(argument)


@pytest.mark.parametrize("norm", ["none", "batch", "instance", "group"])
def test_any_norm_that_it_names(build, model_config, model_name, norm):
    if norm not in get_args(annotation(model_config, model_name, "norm")):
        pytest.skip(f"{model_name} has no choice of this norm")
    net = build(model_name, norm=norm)
    backward(net, torch.randn(2, 3, 33, 20))
    assert all(weight.grad.isfinite().all() for weight in net.parameters())


@pytest.mark.parametrize("width", [0.4, 5.3, 9.7])
def test_widths_between_whole_numbers(build, model_config, model_name, width):
    if annotation(model_config, model_name, "base_channels") != PositiveFloat:
        pytest.skip(f"{model_name} takes whole numbers")
    norm = {"norm": "group"} if "group" in get_args(annotation(model_config, model_name, "norm")) else {}
    net = build(model_name, base_channels=width, **norm)
    backward(net, torch.randn(2, 3, 32, 20))


@pytest.mark.parametrize("weights", SUPERVISION)
@pytest.mark.parametrize("levels", [1, 3, 4])
def test_deep_supervision_in_training_only(build, model_config, model_name, weights, levels):
    need_scales(model_name, weights)
    size = (37, 50)
    # Where nothing is added up, one number of levels is enough.
    arguments = {} if levels == 1 else need_arguments(model_config, model_name, segmentation_levels=levels)
    net = build(model_name, weights=weights, num_classes=3, **arguments)
    image = torch.rand(1, 3, *size)
    expected = [(1, 3, *ceil_halved(size, scale)) for scale, weight in enumerate(weights) if weight > 0]
    prediction = net.train()(image)
    assert isinstance(prediction, list) == (len(expected) > 1)
    assert [tuple(logits.shape) for logits in as_list(prediction)] == expected
    assert net.eval()(image).shape == (1, 3, *size)


@pytest.mark.parametrize("weights", SUPERVISION)
def test_every_parameter_gets_a_gradient(build, model_name, weights):
    need_scales(model_name, weights)
    net = build(model_name, weights=weights)
    for module in net.modules():  # a residual block may start as its shortcut, and pass nothing on for one step
        scale = getattr(module, "weight", None)
        if scale is not None and scale.ndim == 1 and not scale.any():
            nn.init.ones_(scale)
        if isinstance(module, nn.Dropout):  # may silence a whole branch
            module.p = 0.0
    backward(net, torch.randn(2, 3, 32, 32))
    without = [name for name, weight in net.named_parameters() if weight.grad is None]
    assert without == []
    zero = [name for name, weight in net.named_parameters() if weight.ndim == 4 and not weight.grad.any()]
    assert zero == []


def test_heads_of_zero_weight_are_not_built(build, model_name):
    need_scales(model_name, [1, 1])

    def names(weights):
        return build(model_name, weights=weights).state_dict().keys()

    assert names([1, 0, 0, 0]) == names([1])
    assert names([1, 0, 0, 1]) > names([1])


def test_scales_inside_the_sum_need_no_head(build, model_config, model_name):
    arguments = need_arguments(model_config, model_name, segmentation_levels=2)
    supervised, plain = (build(model_name, weights=weights, **arguments) for weights in ([1, 1], [1]))
    assert supervised.state_dict().keys() == plain.state_dict().keys()


def test_too_many_weights(build, model_name):
    with pytest.raises(ValueError, match=r"has 9 entries, but the decoder has 4 scale.*give at most 4"):
        build(model_name, weights=[1] * 9)


@pytest.mark.parametrize("weights", [[], [0.0, 1.0], [1.0, -0.5]])
def test_full_resolution_needs_a_weight(build, model_name, weights):
    with pytest.raises(ValueError, match="must begin with a weight above 0"):
        build(model_name, weights=weights)


def test_more_segmentation_levels_than_scales(build, model_config, model_name):
    arguments = need_arguments(model_config, model_name, segmentation_levels=5, depth=4)
    with pytest.raises(ValueError, match=r"`segmentation_levels` is 5, but the decoder has 4 scale"):
        build(model_name, **arguments)


def test_evaluation_does_not_depend_on_the_rest_of_the_batch(build, model_name):
    net = build(model_name)
    images = torch.rand(3, 3, 32, 48)
    net.train()(images)  # running statistics that differ from their initial values
    net.eval()
    torch.testing.assert_close(net(images)[:1], net(images[:1]), rtol=0, atol=1e-3)  # logits of size 1 to 30


def test_evaluation_is_deterministic(build, model_name):
    net = build(model_name).eval()
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(net(image), net(image))


def test_image_is_left_unchanged(build, model_name):
    net = build(model_name).eval()
    image = torch.randn(1, 3, 32, 32)
    before = image.clone()
    net(image)
    assert torch.equal(image, before)


def test_state_dict_round_trip(build, model_name):
    weights = [1] if model_name in ONE_SCALE else [1, 0.5]
    first, second = (build(model_name, weights=weights) for _ in range(2))
    image = torch.rand(2, 3, 32, 32)
    first.train()(image)
    first.eval(), second.eval()
    assert not torch.allclose(first(image), second(image))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(image), second(image))


def test_channels_last_gives_the_same_answer(build, model_name):
    net = build(model_name).eval()
    image = torch.rand(2, 3, 35, 48)
    expected = net(image)
    net.to(memory_format=torch.channels_last)
    logits = net(image.to(memory_format=torch.channels_last))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_bfloat16_gives_nearly_the_same_answer(build, model_name):
    net = build(model_name, base_channels=8).eval()
    image = torch.randn(2, 3, 70, 96)
    expected = net(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = net(image)
    assert logits.dtype == torch.bfloat16
    # 1 to 2 % for most; each of the 25 normalisations in a row of improved_unet_isensee adds to its 10 %.
    assert (logits.float() - expected).norm() < 0.15 * expected.norm()


@pytest.mark.slow
def test_compiled_in_place(build, model_name):
    need_scales(model_name, [1, 0.5])
    net = build(model_name, weights=[1, 0.5])
    keys = list(net.state_dict())
    image = torch.rand(2, 3, 35, 48)
    net.eval()
    expected = net(image)
    net.compile(backend="eager")
    torch.testing.assert_close(net(image), expected)
    assert len(net.train()(image)) == 2
    assert list(net.state_dict()) == keys


@pytest.mark.parametrize("num_classes", [1, 2])
def test_learns_one_image(build, model_config, model_name, num_classes):
    without_dropout = {"dropout": 0.0} if "dropout" in model_config(model_name) else {}
    weights = [1] if model_name in ONE_SCALE else [1, 0.5]
    net = build(model_name, weights=weights, num_classes=num_classes, **without_dropout)
    image = torch.zeros(1, 3, 32, 32)
    image[..., 8:24, 8:24] = 1.0
    target = image[:, 0].long()

    def loss_of(logits):
        if num_classes == 1:
            return nn.functional.binary_cross_entropy_with_logits(logits[:, 0], target.float())
        return nn.functional.cross_entropy(logits, target)

    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for _ in range(25):
        loss = sum(loss_of(nn.functional.interpolate(logits, (32, 32))) for logits in as_list(net(image)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_configuration_has_every_argument(model_config, model_name):
    config = model_config(model_name)
    arguments = inspect.signature(get_class(config._target_)).parameters
    assert list(config) == ["_target_", *arguments]


def test_annotations_are_a_schema(model_config, model_name):
    config = model_config(model_name)
    hints = get_type_hints(get_class(config.pop("_target_")).__init__, include_extras=True)
    hints.pop("return")
    assert hints.keys() == set(config)
    for name, hint in hints.items():
        value = list(config[name]) if OmegaConf.is_list(config[name]) else config[name]
        assert TypeAdapter(hint).validate_python(value) == value


def test_published_size(build, model_config, model_name):
    if model_name not in PUBLISHED:
        pytest.skip("no published count")
    num_classes, parameters, giga_macs = PUBLISHED[model_name]
    with torch.device("meta"):
        config = model_config(model_name)
        shape = {"base_channels": config.base_channels, "depth": config.depth}
        net = build(model_name, num_classes=num_classes, **shape).eval()
    prelu = sum(module.weight.numel() for module in net.modules() if isinstance(module, nn.PReLU))
    assert sum(weight.numel() for weight in net.parameters()) - prelu == parameters
    with FlopCounterMode(display=False) as counter:
        net(torch.empty(1, 3, 256, 256, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(giga_macs, rel=0.005)

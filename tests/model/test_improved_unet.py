import pytest
import torch
from torch import nn

from unet_exp.model._norm import normalization
from unet_exp.model.improved_unet import ContextModule, ImprovedUNet, LocalizationModule, norm_activation

PRESETS = ["improved_unet", "improved_unet_isensee"]

# One switch at a time, each the other way round from one of the presets.
SWITCHES = [
    {"residual_sum": False},
    {"norm": "none"},
    {"norm": "batch"},
    {"norm": "instance"},
    {"norm": "group"},
    {"pre_activation": True},
    {"pre_activation": False},
    {"localization_halves": "1x1"},
    {"localization_halves": "3x3"},
    {"bridge_convolution": True},
    {"bridge_convolution": False},
    {"segmentation_levels": 1},
    {"segmentation_levels": 4},
    {"segmentation_kernel": 1},
    {"segmentation_kernel": 3},
    {"segmentation_activation": True},
    {"segmentation_activation": False},
    {"output_convolution": True},
    {"output_convolution": False},
]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def context_module(pre_activation, residual_sum=True, dropout=0.3):
    return ContextModule(
        6,
        activation=lambda channels: norm_activation(channels, norm="instance", negative_slope=0.01),
        pre_activation=pre_activation,
        residual_sum=residual_sum,
        dropout=dropout,
    )


@pytest.mark.parametrize(
    ("parameters", "num_classes", "base_channels"),
    [(3_205_715, 1, 16), (3_206_623, 5, 16), (7_208_007, 5, 24), (12_808_111, 5, 32)],
)
def test_parameter_count_of_the_paper(parameters, num_classes, base_channels):
    with torch.device("meta"):
        net = ImprovedUNet(3, num_classes, base_channels=base_channels)
    assert sum(weight.numel() for weight in net.parameters()) == parameters


def test_constructor_defaults_are_the_paper(build):
    with torch.device("meta"):
        published = build("improved_unet_isensee", base_channels=16, num_classes=1)
        default = ImprovedUNet(3, 1)
    assert str(default) == str(published)


@pytest.mark.parametrize("pre_activation", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_context_module_with_zero_last_convolution_is_the_identity(pre_activation, training):
    module = context_module(pre_activation).train(training)
    last = [layer for layer in module.body if isinstance(layer, nn.Conv2d)][-1]
    x = torch.randn(2, 6, 8, 8)
    assert not torch.allclose(module(x), x)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    assert torch.equal(module(x), x)


def test_context_module_without_the_sum():
    module = context_module(pre_activation=True, residual_sum=False)
    nn.init.zeros_(module.body[-1].weight)
    nn.init.zeros_(module.body[-1].bias)
    assert not module(torch.randn(2, 6, 8, 8)).any()


@pytest.mark.parametrize("pre_activation", [True, False])
def test_context_module_drops_between_its_convolutions(pre_activation):
    kinds = [type(layer) for layer in context_module(pre_activation).body]
    first, second = (index for index, kind in enumerate(kinds) if kind is nn.Conv2d)
    assert first < kinds.index(nn.Dropout) < second
    assert (kinds[-1] is nn.Conv2d) == pre_activation


@pytest.mark.parametrize("preset", PRESETS)
def test_dropout_is_off_in_evaluation(build, preset):
    net = build(preset)
    image = torch.randn(1, 3, 32, 32)
    assert not torch.equal(net.train()(image), net(image))
    assert torch.equal(net.eval()(image), net(image))
    for module in net.modules():  # Monte Carlo dropout, as the module docstring says
        if isinstance(module, nn.Dropout):
            module.train()
    assert not torch.equal(net(image), net(image))


@pytest.mark.parametrize(("halves", "segmented"), [("1x1", 12), ("3x3", 6)])
def test_localization_module_halves_the_channels(halves, segmented):
    module = LocalizationModule(6, halves=halves, activation=lambda channels: normalization("none", channels))
    to_segment, to_upsample = module(torch.rand(1, 12, 8, 8))
    assert to_segment.shape == (1, segmented, 8, 8)
    assert to_upsample.shape == (1, 6, 8, 8)
    assert module.segmented_channels == segmented
    assert (to_segment is to_upsample) == (halves == "3x3")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: "-".join(map(str, *switch.items())))
def test_every_switch_trains_every_parameter(build, preset, switch):
    net = build(preset, weights=[1, 0.5, 0, 0.125], **switch)
    outputs = net(torch.randn(2, 3, 33, 40))
    assert [tuple(logits.shape) for logits in outputs] == [(2, 2, 33, 40), (2, 2, 17, 20), (2, 2, 5, 5)]
    sum(logits.square().mean() for logits in outputs).backward()
    assert [name for name, weight in net.named_parameters() if weight.grad is None] == []


def test_first_level_of_the_paper_normalises_only_its_output():
    encoder = ImprovedUNet(3, 1, base_channels=4).encoder
    normalised = [name for name, module in encoder.named_modules() if isinstance(module, nn.InstanceNorm2d)]
    assert [name for name in normalised if name.startswith("first")] == ["first_output.0"]
    assert len(normalised) == 1 + 4 * 3  # two per context module and one after, at the other levels


def test_output_convolution_starts_as_the_identity(build):
    output = build("improved_unet", num_classes=3).heads.output
    logits = torch.randn(2, 3, 4, 4)
    assert torch.equal(output(logits), logits)


def test_simplified_preset_has_no_normalisation(build):
    kinds = {type(module) for module in build("improved_unet").modules()}
    assert not kinds & {nn.InstanceNorm2d, nn.BatchNorm2d, nn.GroupNorm}

"""What every loss promises, tested for every file in conf/loss: a new loss is tested by existing."""

import inspect
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from unet_exp.supervision import DeepSupervisionLoss

from .reference import IGNORE, random_case

CONF = Path(__file__).parents[2] / "conf" / "loss"
FILES = sorted(CONF.glob("*.yaml"))


def load(path, **changes):
    config = OmegaConf.create({"data": {"ignore_index": IGNORE}, "loss": OmegaConf.load(path)})
    return OmegaConf.merge(config, {"loss": changes}).loss


def cases():
    """Each file as binary and as multiclass, and once more per image where it can."""
    for path in FILES:
        config = load(path)
        weights = config.get("class_weights")
        for channels in (1, len(weights) if weights else 4):
            if weights is None or len(weights) == max(2, channels):
                kind = "binary" if channels == 1 else "multiclass"
                yield pytest.param(instantiate(config), channels, id=f"{path.stem}-{kind}")
                if "per_image" in config:
                    loss = instantiate(load(path, per_image=not config.per_image))
                    yield pytest.param(loss, channels, id=f"{path.stem}-{kind}-other-region")


every_loss = pytest.mark.parametrize(("loss", "channels"), list(cases()))


def perfect_logits(target, channels, scale=1.0):
    """Logits of ``scale`` for the true class and -``scale`` for the others."""
    if channels == 1:
        return scale * (target == 1).unsqueeze(1).double().mul(2).sub(1)
    truth = target.unsqueeze(1) == torch.arange(channels).view(1, -1, 1, 1)
    return scale * truth.double().mul(2).sub(1)


def value_and_gradient(loss, logits, target):
    logits = logits.clone().requires_grad_()
    value = loss(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    return value.detach(), gradient


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_explains_itself_and_spells_out_every_argument(path):
    assert path.read_text().startswith("# ")
    config = OmegaConf.load(path)
    arguments = inspect.signature(get_class(config["_target_"])).parameters
    assert set(config) - {"_target_"} == set(arguments)


@every_loss
def test_returns_a_scalar_of_the_precision_of_the_logits(loss, channels):
    logits, target = random_case(channels)
    assert loss(logits, target).shape == ()
    assert loss(logits, target).dtype == torch.float64
    assert loss(logits.float(), target).dtype == torch.float32


@every_loss
def test_gradient_is_exactly_zero_at_ignored_pixels(loss, channels):
    logits, target = random_case(channels, ignored=0.4)
    _, gradient = value_and_gradient(loss, logits, target)
    ignored = (target == IGNORE).unsqueeze(1).expand_as(gradient)
    assert ignored.any()
    assert (gradient[ignored] == 0).all()
    assert gradient[~ignored].abs().sum() > 0


@every_loss
@pytest.mark.parametrize("value", [1e4, float("inf"), float("nan")])
def test_logits_at_ignored_pixels_do_not_matter_whatever_they_are(loss, channels, value):
    logits, target = random_case(channels)
    expected, expected_gradient = value_and_gradient(loss, logits, target)
    logits[(target == IGNORE).unsqueeze(1).expand_as(logits)] = value
    result, gradient = value_and_gradient(loss, logits, target)
    assert torch.equal(result, expected)
    assert torch.equal(gradient, expected_gradient)


@every_loss
def test_all_ignored_gives_zero_that_is_still_in_the_graph(loss, channels):
    logits, target = random_case(channels)
    value, gradient = value_and_gradient(loss, logits, torch.full_like(target, IGNORE))
    assert value == 0
    assert (gradient == 0).all()


@every_loss
def test_batch_with_one_all_ignored_image_equals_the_batch_without_it(loss, channels):
    logits, target = random_case(channels, images=3)
    target[1] = IGNORE
    value, gradient = value_and_gradient(loss, logits, target)
    others = [0, 2]
    expected, expected_gradient = value_and_gradient(loss, logits[others], target[others])
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient[others], expected_gradient)
    assert (gradient[1] == 0).all()


@every_loss
def test_absent_class_is_finite_with_a_bounded_gradient(loss, channels):
    """Each class in turn is the only one; the others' probabilities are anything down to exactly 0."""
    logits, target = random_case(channels)
    for only in range(max(2, channels)):
        single = torch.where(target == IGNORE, IGNORE, only)
        for prediction in (0 * logits, logits, 10 * logits, perfect_logits(single, channels, 1e4)):
            value, gradient = value_and_gradient(loss, prediction, single)
            assert value.isfinite()
            assert gradient.abs().max() < 10


@every_loss
def test_falls_as_the_prediction_improves(loss, channels):
    _, target = random_case(channels, size=16)
    start = 2 * torch.rand(target.shape[0], channels, 16, 16, generator=torch.manual_seed(1)).double() - 1
    goal = perfect_logits(target, channels)
    values = [float(loss(torch.lerp(start, goal, step), target)) for step in torch.linspace(0, 1, 6).double()]
    assert all(later < earlier for earlier, later in pairwise(values)), values


@every_loss
def test_perfect_prediction_costs_nothing_and_its_opposite_does(loss, channels):
    _, target = random_case(channels)
    assert 0 <= loss(perfect_logits(target, channels, 100.0), target) < 1e-9
    assert loss(perfect_logits(target, channels, -100.0), target) > 0.5


@every_loss
def test_gradcheck(loss, channels):
    logits, target = random_case(channels, size=4)
    assert torch.autograd.gradcheck(lambda z: loss(z, target), logits.requires_grad_())


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_computed_in_float32(loss, channels, dtype):
    logits, target = random_case(channels, size=64, dtype=torch.float32)
    value, gradient = value_and_gradient(loss, logits.to(dtype), target)
    assert value.dtype == torch.float32
    assert gradient.dtype == dtype
    assert torch.equal(value, loss(logits.to(dtype).float(), target))
    torch.testing.assert_close(value, loss(logits, target), rtol=1e-2, atol=0)


@every_loss
def test_autocast_does_not_lower_the_precision(loss, channels):
    logits, target = random_case(channels, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(logits, target)
    assert torch.equal(value, loss(logits, target))


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_extreme_logits_are_finite(loss, channels, dtype, scale):
    logits, target = random_case(channels)
    mixed = torch.where(logits > 0, scale, -scale)
    for extreme in (perfect_logits(target, channels, scale), mixed):
        value, gradient = value_and_gradient(loss, extreme.to(dtype), target)
        assert value.isfinite()
        assert gradient.isfinite().all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_target_may_have_any_integer_type(loss, channels, dtype):
    logits, target = random_case(channels)
    assert torch.equal(loss(logits, target.to(dtype)), loss(logits, target))


@every_loss
def test_channels_last_gives_the_same(loss, channels):
    logits, target = random_case(channels)
    value, gradient = value_and_gradient(loss, logits, target)
    other, other_gradient = value_and_gradient(loss, logits.contiguous(memory_format=torch.channels_last), target)
    torch.testing.assert_close(other, value)
    torch.testing.assert_close(other_gradient, gradient)


@every_loss
def test_composes_with_deep_supervision(loss, channels):
    logits, target = random_case(channels, size=16, ignored=0.05)
    outputs = [logits, logits[..., ::2, ::2].contiguous(), logits[..., ::4, ::4].contiguous()]
    for output in outputs:
        output.requires_grad_()
    value = DeepSupervisionLoss(loss, [1.0, 0.5, 0.25])(outputs, target)
    # nearest-exact takes the pixel right below the middle of each block
    targets = [target, target[:, 1::2, 1::2], target[:, 2::4, 2::4]]
    parts = [loss(output, part) for output, part in zip(outputs, targets, strict=True)]
    torch.testing.assert_close(value, (4 * parts[0] + 2 * parts[1] + parts[2]) / 7)
    value.backward()
    assert all(output.grad.abs().sum() > 0 for output in outputs)


@every_loss
def test_checkpoint_holds_nothing_of_the_loss(loss, channels):
    """Class weights are configuration: a checkpoint must load after they have changed."""
    assert loss.state_dict() == {}
    assert list(loss.parameters()) == []


@every_loss
def test_wrong_shapes_and_types_are_refused(loss, channels):
    logits, target = random_case(channels)
    with pytest.raises(ValueError, match=r"Expected `logits` of shape \(N, C, H, W\)"):
        loss(logits, target[:, 1:])
    with pytest.raises(ValueError, match="class ids in `target`"):
        loss(logits, target.double())

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from unet_exp.supervision import DeepSupervisionLoss, match_target

CONF = Path(__file__).parents[1] / "conf" / "supervision"


class Recorder(nn.Module):
    """Remembers the targets; the loss is the mean logit."""

    def __init__(self):
        super().__init__()
        self.targets = []

    def forward(self, logits, target):
        assert logits.shape[-2:] == target.shape[-2:]
        self.targets.append(target)
        return logits.mean()


def outputs(*pairs):
    """One constant output per (value, size)."""
    return [torch.full((1, 2, size, size), float(value)) for value, size in pairs]


def test_single_tensor_gets_the_plain_loss():
    loss = DeepSupervisionLoss(Recorder(), [1.0, 0.5])
    target = torch.arange(64).view(1, 8, 8)
    assert loss(outputs((3, 8))[0], target) == 3
    assert torch.equal(loss.loss.targets[0], target)


def test_weights_are_normalised():
    loss = DeepSupervisionLoss(Recorder(), [1.0, 0.5, 0.25])
    value = loss(outputs((1, 8), (10, 4), (100, 2)), torch.zeros(1, 8, 8, dtype=torch.long))
    assert float(value) == pytest.approx((4 * 1 + 2 * 10 + 1 * 100) / 7)


def test_weight_zero_means_no_output_at_that_scale():
    loss = DeepSupervisionLoss(Recorder(), [1.0, 0.0, 1.0])
    target = torch.arange(64).view(1, 8, 8)
    assert float(loss(outputs((1, 8), (3, 2)), target)) == pytest.approx(2)
    assert torch.equal(loss.loss.targets[1], target[:, 2::4, 2::4])


@pytest.mark.parametrize("count", [1, 3])
def test_wrong_number_of_outputs_is_refused(count):
    loss = DeepSupervisionLoss(Recorder(), [1.0, 0.5])
    with pytest.raises(ValueError, match=f"Expected 2 outputs.*the network returned {count}"):
        loss(outputs(*[(1, 8)] * count), torch.zeros(1, 8, 8, dtype=torch.long))


@pytest.mark.parametrize("weights", [[], [0.0, 1.0]])
def test_full_resolution_must_have_a_weight(weights):
    with pytest.raises(ValueError, match="positive weight for full resolution"):
        DeepSupervisionLoss(Recorder(), weights)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_coarse_target_holds_only_labels_of_the_target(dtype):
    target = torch.tensor([0, 4, 255], dtype=dtype)[torch.randint(3, (2, 32, 48))]
    coarse = match_target(target, (8, 12), scale=2)
    assert coarse.dtype == dtype
    assert torch.equal(coarse, target[:, 2::4, 2::4])


def test_unpadded_unet_is_compared_with_the_centre_of_the_target():
    """572 pixels in, 388 out; one level deeper 196 logits, which cover 392 pixels."""
    target = torch.arange(572 * 572).view(1, 572, 572)
    assert torch.equal(match_target(target, (388, 388), scale=0), target[:, 92:480, 92:480])
    half = match_target(target % 251, (196, 196), scale=1)
    assert torch.equal(half, (target % 251)[:, 90:482, 90:482][:, 1::2, 1::2])


def test_size_that_is_no_multiple_of_the_stride():
    target = torch.arange(101 * 101).view(1, 101, 101) % 251
    assert match_target(target, (51, 51), scale=1).shape == (1, 51, 51)  # rounded up: resized
    assert torch.equal(match_target(target, (50, 50), scale=1), target[:, 1:100:2, 1:100:2])  # rounded down


def test_full_resolution_logits_larger_than_the_target_are_refused():
    with pytest.raises(ValueError, match="no larger than the target"):
        match_target(torch.zeros(1, 8, 8, dtype=torch.long), (16, 16), scale=0)


@pytest.mark.parametrize(("name", "scales"), [("none", 1), ("deep", 3)])
def test_configuration_builds(name, scales):
    loss = instantiate(OmegaConf.load(CONF / f"{name}.yaml"))(Recorder())
    assert isinstance(loss, DeepSupervisionLoss)
    assert len(loss.scale_weights) == scales
    assert sum(loss.scale_weights.values()) == pytest.approx(1)


def test_surroundings_have_a_loss_of_their_own_with_a_weight_outside_the_sum():
    loss = DeepSupervisionLoss(Recorder(), [1.0, 0.5], context_weight=0.25)
    target, around = torch.zeros(1, 8, 8, dtype=torch.long), torch.arange(64).view(1, 8, 8)
    total = loss(outputs((3, 8), (6, 4), (8, 2)), target, around)
    assert total == pytest.approx((3 + 0.5 * 6) / 1.5 + 0.25 * 8)
    assert loss.loss.targets[-1].tolist() == [[[18, 22], [50, 54]]]  # the middles of 4x4 pixels


def test_without_surroundings_of_its_own_the_image_is_its_own():
    loss = DeepSupervisionLoss(Recorder(), [1.0], context_weight=0.5)
    target = torch.arange(64).view(1, 8, 8)
    loss(outputs((3, 8), (8, 2)), target)
    assert torch.equal(loss.loss.targets[-1], match_target(target, (2, 2), scale=2))
    assert loss(outputs((3, 8))[0], target) == 3

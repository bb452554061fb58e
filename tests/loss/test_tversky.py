import numpy as np
import pytest
import torch

from unet_exp.loss.tversky import tversky_loss

from . import reference
from .reference import IGNORE, random_case, regions


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("exponent", [1.0, 0.75])
@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_agrees_with_numpy(channels, per_image, exponent, smooth):
    logits, target = random_case(channels)
    losses = []
    for p, y in regions(logits, target, per_image=per_image):
        for k in [1] if channels == 1 else range(channels):
            hit = p[y == k, k].sum()
            index = (hit + smooth) / (hit + 0.2 * p[y != k, k].sum() + 0.8 * (1 - p[y == k, k]).sum() + smooth)
            losses.append((1 - index) ** exponent)
    result = tversky_loss(
        logits,
        target,
        ignore_index=IGNORE,
        false_positive_weight=0.2,
        false_negative_weight=0.8,
        exponent=exponent,
        per_image=per_image,
        smooth=smooth,
    )
    assert float(result) == pytest.approx(np.mean(losses), rel=1e-10)


def test_equal_weights_are_dice():
    logits, target = random_case(4)
    result = tversky_loss(
        logits,
        target,
        ignore_index=IGNORE,
        false_positive_weight=0.5,
        false_negative_weight=0.5,
        smooth=0.5,
    )
    assert float(result) == pytest.approx(reference.dice(logits, target, smooth=1.0), rel=1e-10)


def test_a_miss_costs_more_than_a_false_alarm_by_default():
    target = torch.tensor([[[1, 1, 0, 0]]])
    miss = torch.tensor([[[[9.0, -9.0, -9.0, -9.0]]]])
    alarm = torch.tensor([[[[9.0, 9.0, 9.0, -9.0]]]])
    assert tversky_loss(miss, target, ignore_index=IGNORE) > tversky_loss(alarm, target, ignore_index=IGNORE)


def test_focal_gradient_of_a_perfect_class_is_zero_not_nan():
    target = torch.tensor([[[1, 1, 0, 0]]])
    logits = torch.tensor([[[[200.0, 200.0, -200.0, -200.0]]]], requires_grad=True)
    tversky_loss(logits, target, ignore_index=IGNORE, exponent=0.75).backward()
    assert (logits.grad == 0).all()


def test_absent_class_is_left_out_of_the_mean():
    """The two logits left make the same pair as a network without the third, had it no probability."""
    logits, target = random_case(3)
    target[target == 2] = 0
    logits[:, 2] = -1e4
    torch.testing.assert_close(
        tversky_loss(logits, target, ignore_index=IGNORE),
        tversky_loss(logits[:, :2], target, ignore_index=IGNORE),
    )

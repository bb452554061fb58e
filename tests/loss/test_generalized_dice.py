import numpy as np
import pytest
import torch

from unet_exp.loss.generalized_dice import generalized_dice_loss

from .reference import IGNORE, random_case, regions


def sudre(p, y, exponent):
    numerator = denominator = 0.0
    for k in range(p.shape[1]):
        truth = (y == k).astype(float)
        if truth.sum() > 0:
            weight = 1 / truth.sum() ** exponent
            numerator += weight * (truth * p[:, k]).sum()
            denominator += weight * (truth + p[:, k]).sum()
    return 1 - 2 * numerator / denominator


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_agrees_with_numpy(channels, per_image, exponent):
    logits, target = random_case(channels)
    target[1][target[1] == 1] = 0  # class 1 is absent from one image
    expected = np.mean([sudre(p, y, exponent) for p, y in regions(logits, target, per_image=per_image)])
    result = generalized_dice_loss(logits, target, ignore_index=IGNORE, volume_exponent=exponent, per_image=per_image)
    assert float(result) == pytest.approx(expected, rel=1e-10)


def test_rare_class_weighs_as_much_as_a_common_one():
    """Losing the only pixel of a class costs far more than its share of the pixels."""
    target = torch.zeros(1, 10, 10, dtype=torch.long)
    target[0, 0, 0] = 1
    all_background = torch.full((1, 1, 10, 10), -50.0)
    assert generalized_dice_loss(all_background, target, ignore_index=IGNORE) > 0.9


def test_large_batch_does_not_underflow_in_float32():
    target = torch.zeros(1, 2048, 2048, dtype=torch.long)
    target[:, :, 1024:] = 1
    logits = torch.zeros(1, 1, 2048, 2048)
    assert float(generalized_dice_loss(logits, target, ignore_index=IGNORE)) == pytest.approx(0.5)

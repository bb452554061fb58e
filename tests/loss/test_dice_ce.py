import pytest
import torch

from unet_exp.loss.dice_ce import DiceCELoss

from . import reference
from .reference import IGNORE, random_case


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.3, 2.0), (1.0, 0.0), (0.0, 1.0)])
def test_is_the_weighted_sum_of_the_numpy_parts(channels, per_image, weights):
    logits, target = random_case(channels)
    class_weights = [0.5, 1.0, 3.0][: max(2, channels)]
    loss = DiceCELoss(
        IGNORE,
        dice_weight=weights[0],
        cross_entropy_weight=weights[1],
        class_weights=class_weights,
        per_image=per_image,
        smooth=1.0,
    )
    dice = reference.dice(logits, target, per_image=per_image, classes=[1] if channels == 1 else None, smooth=1.0)
    expected = weights[0] * dice + weights[1] * reference.cross_entropy(logits, target, class_weights)
    assert float(loss(logits, target)) == pytest.approx(expected, rel=1e-10)


def test_false_alarm_on_an_image_without_foreground_is_punished_by_the_cross_entropy():
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    loss = DiceCELoss(IGNORE)
    assert loss(torch.full((1, 1, 4, 4), 3.0), target) > loss(torch.full((1, 1, 4, 4), -3.0), target)

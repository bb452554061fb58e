import pytest
import torch

from unet_exp.loss.dice import dice_loss

from . import reference
from .reference import IGNORE, random_case


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize(
    ("channels", "include_background", "classes"),
    [
        (1, None, [1]),
        (1, False, [1]),
        (1, True, [0, 1]),
        (4, None, [0, 1, 2, 3]),
        (4, True, [0, 1, 2, 3]),
        (4, False, [1, 2, 3]),
    ],
)
def test_agrees_with_numpy(channels, include_background, classes, per_image, smooth):
    logits, target = random_case(channels, images=3)
    target[1][target[1] == 1] = IGNORE  # class 1 is absent from one image, so regions differ
    result = dice_loss(
        logits,
        target,
        ignore_index=IGNORE,
        per_image=per_image,
        include_background=include_background,
        smooth=smooth,
    )
    expected = reference.dice(logits, target, per_image=per_image, classes=classes, smooth=smooth)
    assert float(result) == pytest.approx(expected, rel=1e-10)


def test_hard_prediction_gives_one_minus_the_dice_score():
    target = torch.tensor([[[0, 0, 1, 1]]])
    logits = torch.tensor([[[[-1e3, 1e3, 1e3, 1e3]]]])
    assert float(dice_loss(logits, target, ignore_index=IGNORE)) == pytest.approx(1 - 2 * 2 / (2 + 3))


def test_absent_class_is_left_out_of_the_mean():
    """A third logit that is never labelled only takes probability away from the two others."""
    logits, target = random_case(3)
    target[target == 2] = 0
    result = dice_loss(logits, target, ignore_index=IGNORE)
    assert float(result) == pytest.approx(reference.dice(logits, target, classes=[0, 1]), rel=1e-10)


def test_false_alarm_of_an_absent_class_still_costs():
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    quiet = torch.zeros(1, 3, 4, 4)
    loud = quiet.clone()
    loud[:, 2] = 3.0
    assert dice_loss(loud, target, ignore_index=IGNORE) > dice_loss(quiet, target, ignore_index=IGNORE)


def test_binary_without_foreground_is_zero_and_teaches_nothing():
    logits = torch.ones(1, 1, 4, 4, requires_grad=True)
    loss = dice_loss(logits, torch.zeros(1, 4, 4, dtype=torch.long), ignore_index=IGNORE)
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_nearly_perfect_prediction_keeps_its_digits_in_float32():
    """1 - 2TP / (...) would be pure rounding error here."""
    target = torch.ones(1, 512, 512, dtype=torch.long)
    logits = torch.full((1, 1, 512, 512), 18.0)
    exact = dice_loss(logits.double(), target, ignore_index=IGNORE)
    rough = dice_loss(logits, target, ignore_index=IGNORE)
    assert 0 < exact < 1e-7
    assert rough == pytest.approx(float(exact), abs=6e-8)
    assert rough >= 0

import numpy as np
import pytest
import torch

from unet_exp.loss.lovasz import lovasz_loss

from .reference import IGNORE, random_case, regions


def jaccard_loss(wrong, truth):
    """1 - IoU of a prediction that is wrong at exactly these pixels."""
    prediction = truth ^ wrong
    union = (prediction | truth).sum()
    return 0.0 if union == 0 else 1 - (prediction & truth).sum() / union


def extension(errors, truth):
    """The Lovász extension by its definition: turn the pixels wrong one after another, worst first."""
    wrong = np.zeros_like(truth)
    total = previous = 0.0
    for i in np.argsort(-errors, kind="stable"):
        wrong[i] = True
        current = jaccard_loss(wrong, truth)
        total += errors[i] * (current - previous)
        previous = current
    return total


@pytest.mark.parametrize("per_image", [False, True])
def test_softmax_agrees_with_the_definition(per_image):
    logits, target = random_case(3)
    target[1][target[1] == 2] = IGNORE  # absent from one image: left out there
    losses = [
        extension(np.abs((y == k) - p[:, k]), y == k)
        for p, y in regions(logits, target, per_image=per_image)
        for k in range(3)
        if (y == k).any()
    ]
    result = lovasz_loss(logits, target, ignore_index=IGNORE, per_image=per_image)
    assert float(result) == pytest.approx(np.mean(losses), rel=1e-10)


@pytest.mark.parametrize("per_image", [False, True])
def test_hinge_agrees_with_the_definition(per_image):
    logits, target = random_case(1)
    target[1][target[1] == 1] = 0  # no foreground in one image: counted, by its worst pixel
    groups = [slice(0, 1), slice(1, 2)] if per_image else [slice(0, 2)]
    losses = []
    for group in groups:
        z, y = logits[group, 0].numpy().ravel(), target[group].numpy().ravel()
        z, y = z[y != IGNORE], y[y != IGNORE]
        losses.append(extension(np.maximum(0, 1 - np.where(y == 1, z, -z)), y == 1))
    result = lovasz_loss(logits, target, ignore_index=IGNORE, per_image=per_image)
    assert float(result) == pytest.approx(np.mean(losses), rel=1e-10)


def test_hinge_without_foreground_is_the_error_of_the_worst_pixel():
    logits = torch.tensor([[[[-3.0, 0.5, 2.0, 9.0]]]])
    target = torch.tensor([[[0, 0, 0, IGNORE]]])
    assert lovasz_loss(logits, target, ignore_index=IGNORE) == 3.0


def test_hard_prediction_gives_one_minus_the_iou():
    logits, target = random_case(4, ignored=0.1)
    prediction = logits.argmax(dim=1)
    valid = target != IGNORE
    ious = [
        ((prediction == k) & (target == k) & valid).sum() / (((prediction == k) | (target == k)) & valid).sum()
        for k in range(4)
    ]
    result = lovasz_loss(1e4 * logits, target, ignore_index=IGNORE)
    assert float(result) == pytest.approx(1 - float(sum(ious)) / 4, abs=1e-6)


def test_float32_keeps_its_digits_on_a_large_image():
    """The steps are about 1 / P: as differences of float32 Jaccard values they would be noise."""
    logits, target = random_case(2, images=1, size=512, dtype=torch.float32)
    z32, z64 = logits.clone().requires_grad_(), logits.double().requires_grad_()
    gradients = [torch.autograd.grad(lovasz_loss(z, target, ignore_index=IGNORE), z)[0].double() for z in (z32, z64)]
    difference = (gradients[0] - gradients[1]).abs().mean() / gradients[1].abs().mean()
    assert difference < 1e-4

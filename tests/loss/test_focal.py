import numpy as np
import pytest
import torch

from unet_exp.loss.focal import focal_loss

from . import reference
from .reference import IGNORE, random_case, valid_pixels


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_agrees_with_numpy(channels, gamma):
    logits, target = random_case(channels)
    alpha = np.array([0.25, 0.75, 1.5])[: max(2, channels)]
    p, y = valid_pixels(logits, target)
    terms = [-alpha[k] * (1 - q[k]) ** gamma * np.log(q[k]) for q, k in zip(p, y, strict=True)]
    result = focal_loss(logits, target, ignore_index=IGNORE, gamma=gamma, class_weights=torch.from_numpy(alpha))
    assert float(result) == pytest.approx(sum(terms) / alpha[y].sum(), rel=1e-10)


@pytest.mark.parametrize("channels", [1, 3])
def test_gamma_zero_is_cross_entropy(channels):
    logits, target = random_case(channels)
    result = focal_loss(logits, target, ignore_index=IGNORE, gamma=0.0)
    assert float(result) == pytest.approx(reference.cross_entropy(logits, target), rel=1e-10)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
def test_gradient_is_finite_where_the_probability_rounds_to_one(gamma):
    """Below gamma = 1 the power is infinitely steep there, and infinity x 0 would be NaN."""
    logits = torch.full((1, 1, 2, 2), 200.0, requires_grad=True)
    target = torch.ones(1, 2, 2, dtype=torch.long)
    focal_loss(logits, target, ignore_index=IGNORE, gamma=gamma).backward()
    assert (logits.grad == 0).all()


def test_easy_pixels_count_for_less_than_in_cross_entropy():
    logits = torch.tensor([[[[4.0, -1.0]]]], requires_grad=True)
    target = torch.ones(1, 1, 2, dtype=torch.long)
    shares = []
    for gamma in (0.0, 2.0):
        (gradient,) = torch.autograd.grad(focal_loss(logits, target, ignore_index=IGNORE, gamma=gamma), logits)
        shares.append(float(gradient[..., 0].abs().sum() / gradient.abs().sum()))
    assert shares[1] < shares[0] / 10

import pytest
import torch
from torch.nn import functional as F

from unet_exp.loss.cross_entropy import CrossEntropyLoss, cross_entropy_loss

from . import reference
from .reference import IGNORE, random_case


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_numpy(channels, weighted):
    logits, target = random_case(channels)
    weights = torch.tensor([0.2, 1.2, 2.2][: max(2, channels)]).double() if weighted else None
    result = cross_entropy_loss(logits, target, ignore_index=IGNORE, class_weights=weights)
    expected = reference.cross_entropy(logits, target, None if weights is None else weights.numpy())
    assert float(result) == pytest.approx(expected, rel=1e-10)


def test_agrees_with_torch_where_torch_is_defined():
    logits, target = random_case(5)
    weights = torch.rand(5, dtype=torch.float64, generator=torch.manual_seed(0))
    result = cross_entropy_loss(logits, target, ignore_index=IGNORE, class_weights=weights)
    torch.testing.assert_close(result, F.cross_entropy(logits, target, weight=weights, ignore_index=IGNORE))
    nothing = torch.full_like(target, IGNORE)
    assert F.cross_entropy(logits, nothing, ignore_index=IGNORE).isnan()  # the trap that ours avoids
    assert cross_entropy_loss(logits, nothing, ignore_index=IGNORE) == 0


def test_one_logit_equals_two_logits_with_a_zero():
    logits, target = random_case(1)
    two = torch.cat([torch.zeros_like(logits), logits], dim=1)
    torch.testing.assert_close(
        cross_entropy_loss(logits, target, ignore_index=IGNORE),
        cross_entropy_loss(two, target, ignore_index=IGNORE),
    )


def test_class_of_weight_zero_alone_in_the_batch_gives_zero():
    logits, target = random_case(2)
    weights = torch.tensor([0.0, 1.0])
    loss = cross_entropy_loss(logits, target * 0, ignore_index=IGNORE, class_weights=weights)
    assert loss == 0


def test_wrong_number_of_class_weights_is_refused():
    logits, target = random_case(4)
    with pytest.raises(ValueError, match="one weight for each of the 4 classes, but got 3"):
        CrossEntropyLoss(IGNORE, class_weights=[0.2, 1.2, 2.2])(logits, target)


def test_class_weights_move_with_the_module():
    loss = CrossEntropyLoss(IGNORE, class_weights=[1.0, 2.0]).to("meta")
    assert loss.class_weights.device.type == "meta"

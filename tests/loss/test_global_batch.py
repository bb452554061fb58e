"""Every loss in conf/loss: what several processes compute of their parts is the loss of the whole batch."""

import pytest
import torch

from tests.ranks import on_ranks
from unet_exp.global_batch import over_all_processes, whole_batch
from unet_exp.supervision import DeepSupervisionLoss

from .reference import IGNORE, random_case
from .test_contract import cases

CASES = [(*case.values, case.id) for case in cases()]


def whole_case(channels):
    """Four images whose numbers of valid pixels differ, one of them without any, and one without a rare class."""
    logits, target = random_case(channels, images=4, size=12)
    target[0, :9] = IGNORE
    target[1] = IGNORE
    target[2][(target[2] > 1) & (target[2] != IGNORE)] = 0
    return logits, target


def loss_and_gradient(loss, logits, target):
    """With deep supervision over two scales, so that both are tested."""
    outputs = [logits.clone().requires_grad_(), logits[..., ::2, ::2].clone().requires_grad_()]
    value = DeepSupervisionLoss(loss, [1.0, 0.5])(outputs, target)
    return value.detach(), torch.autograd.grad(value, outputs)


def on_rank(rank, count):
    """Loss and gradient of this process's part, the latter as distributed training averages it."""
    results = []
    for loss, channels, _ in CASES:
        logits, target = whole_case(channels)
        with over_all_processes():
            value, gradients = loss_and_gradient(loss, logits[rank::count], target[rank::count])
        results.append((value, [gradient / count for gradient in gradients]))
    return results


@pytest.fixture(scope="module", params=[1, 2, 4])
def ranks(request, tmp_path_factory):
    count = request.param
    return on_ranks(count, tmp_path_factory.mktemp("ranks") / "store", lambda rank: on_rank(rank, count))


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case[2] for case in CASES])
def test_the_loss_of_all_processes_is_that_of_the_whole_batch(number, ranks):
    loss, channels, _ = CASES[number]
    logits, target = whole_case(channels)
    expected, expected_gradients = loss_and_gradient(loss, logits, target)
    for rank, results in enumerate(ranks):
        value, gradients = results[number]
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
        for gradient, whole in zip(gradients, expected_gradients, strict=True):
            torch.testing.assert_close(gradient, whole[rank :: len(ranks)], rtol=1e-9, atol=1e-14)


def test_the_parts_alone_would_give_another_loss():
    """Otherwise the test above shows nothing."""
    different = set()
    for loss, channels, name in CASES:
        logits, target = whole_case(channels)
        expected, _ = loss_and_gradient(loss, logits, target)
        values = [loss_and_gradient(loss, logits[rank::2], target[rank::2])[0] for rank in range(2)]
        if not torch.isclose(torch.stack(values).mean(), expected, rtol=1e-5):
            different.add(name)
    assert different == {name for *_, name in CASES}


def test_outside_of_training_processes_need_nothing_of_each_other(tmp_path):
    """As in validation, where they have different numbers of cases: a collective operation would wait forever."""

    logits, target = random_case(4)

    def score(rank):
        return [float(loss(logits, target)) for loss, channels, _ in CASES if channels == 4 and rank == 0]

    first, second = on_ranks(2, tmp_path / "store", score)
    assert first == [float(loss(logits, target)) for loss, channels, _ in CASES if channels == 4]
    assert second == []


def test_bool_tensors_are_gathered_in_the_order_of_ranks(tmp_path):
    def gather(rank):
        with over_all_processes():
            return whole_batch(torch.tensor([[rank == 1, True]]))

    for whole in on_ranks(2, tmp_path / "store", gather):
        assert whole.tolist() == [[False, True, True, True]]

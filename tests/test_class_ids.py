"""Class ids are those of argmax, whatever the shape."""

import pytest
import torch

from unet_exp.class_ids import class_ids


@pytest.mark.parametrize("shape", [(2, 3, 4), (5, 1, 7), (3, 5, 6, 4), (2, 2, 4, 3, 3)])
def test_the_largest_logit_wins_and_of_equal_ones_the_first(shape):
    logits = torch.randint(-3, 3, shape, generator=torch.Generator().manual_seed(0)).float()
    expected = torch.from_numpy(logits.numpy().argmax(-3))  # NumPy promises the first of equal ones
    assert torch.equal(class_ids(logits), expected.to(torch.uint8))


def test_one_logit_tells_two_classes_apart():
    assert class_ids(torch.tensor([[[-1.0, 0.0, 0.1]]])).tolist() == [[0, 0, 1]]

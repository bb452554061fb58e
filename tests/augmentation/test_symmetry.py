import albumentations
import numpy as np
import pytest

from tests.augmentation.conftest import sample
from unet_exp.augmentation.symmetry import SquareSymmetry, transform

ELEMENTS = {
    "e": lambda a: a,
    "r90": lambda a: np.rot90(a, 1),
    "r180": lambda a: np.rot90(a, 2),
    "r270": lambda a: np.rot90(a, 3),
    "v": lambda a: a[::-1],
    "h": lambda a: a[:, ::-1],
    "t": lambda a: np.swapaxes(a, 0, 1),
    "hvt": lambda a: np.swapaxes(a[::-1, ::-1], 0, 1),
}


@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("size", [(64, 64), (97, 131)])
def test_elements_are_those_of_numpy(element, size):
    for array in sample(*size):
        result = transform(array[3:60, 2:61], element)
        assert np.array_equal(result, ELEMENTS[element](array[3:60, 2:61]))
        assert result.flags.c_contiguous


def test_draws_and_pixels_are_those_of_albumentations(apply):
    image, labels = sample()
    fast, reference = SquareSymmetry(), albumentations.SquareSymmetry(p=1.0)
    seen = set()
    for seed in range(60):
        ours, theirs = (apply(t, seed, image=image, mask=labels) for t in (fast, reference))
        assert fast.params["group_element"] == reference.params["group_element"]
        assert np.array_equal(ours["image"], theirs["image"])
        assert np.array_equal(ours["mask"], theirs["mask"])
        assert fast.random_generator.random() == reference.random_generator.random()  # what follows is the same too
        seen.add(str(fast.params["group_element"]))
    assert seen == set(ELEMENTS)


def test_a_sample_that_is_not_square_gets_the_four_symmetries_of_its_shape(apply):
    image, labels = sample(40, 60)
    allowed = {ELEMENTS[element](labels).tobytes() for element in ("e", "r180", "v", "h")}
    seen = [apply(SquareSymmetry(), seed, image=image, mask=labels)["mask"] for seed in range(60)]
    assert {mask.shape for mask in seen} == {(40, 60)}
    assert {mask.tobytes() for mask in seen} == allowed


def test_the_result_is_not_the_training_image_itself(apply):
    """A crop that is left as it is must not lead later transforms to write into the image in memory."""
    image, labels = sample(64, 64)
    for seed in range(20):
        result = apply(SquareSymmetry(), seed, image=image[:32, :32], mask=labels[:32, :32])
        assert not np.shares_memory(result["image"], image)
        assert not np.shares_memory(result["mask"], labels)

"""The comparison of the exported with the trained network finds what is wrong."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from tests import fake
from unet_exp.bundle.images import Images, find_images
from unet_exp.bundle.parity import Parity, compare
from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.errors import UserError
from unet_exp.instantiate import build


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return Images([rng.integers(0, 256, size, dtype=np.uint8) for size in ((40, 50, 3), (33, 60, 3))], "two images")


def network(images):
    return torch.stack([images[:, 0].float() - 127.5, images[:, 1].float() - 100], dim=1)


def test_equal_networks_do_not_differ(images):
    found = compare(network, network, images)
    found.require()
    assert found.largest_difference == 0
    assert found.same_label == 1
    assert found.sizes == [(1, 33, 33), (3, 33, 33), (1, 25, 19), (3, 25, 19), (1, 17, 28), (3, 17, 28)]
    assert found.pixels == 4 * (33 * 33 + 25 * 19 + 17 * 28)


def test_difference_and_agreement_are_those_of_numpy(images):
    def other(batch):
        return network(batch) + torch.tensor([0.0, 5.0])[:, None, None]

    found = compare(network, other, images)
    first = images.pixels[0][3:36, 8:41].transpose(2, 0, 1)[None].copy()
    one = compare(network, other, Images([images.pixels[0][3:36, 8:41]], ""))
    expected, got = network(torch.from_numpy(first)).numpy(), other(torch.from_numpy(first)).numpy()
    assert found.largest_difference == 5
    assert found.largest_logit >= np.abs(expected).max()
    assert one.largest_logit == np.abs(expected).max()
    disagreement = (expected.argmax(1) != got.argmax(1)).mean()
    assert 0 < disagreement < 0.1
    assert one.same_label == pytest.approx(1 - disagreement, abs=0.02)  # the other crops are parts of the first


def figures(**changes) -> Parity:
    values = {
        "images": "x",
        "sizes": [],
        "pixels": 9,
        "largest_difference": 0.0,
        "largest_logit": 9.0,
        "same_label": 1.0,
    }
    return Parity(**values | changes)


@pytest.mark.parametrize(
    ("changes", "accepted"),
    [
        ({"largest_difference": 8.9e-3}, True),
        ({"largest_difference": 9.1e-3}, False),
        ({"largest_difference": 9e-4, "largest_logit": 0.01}, True),
        ({"largest_difference": 1.1e-3, "largest_logit": 0.01}, False),
        ({"same_label": 0.9999}, True),
        ({"same_label": 0.99989}, False),
        ({"largest_difference": math.nan}, False),
    ],
)
def test_what_is_accepted(changes, accepted):
    if accepted:
        figures(**changes).require()
    else:
        with pytest.raises(UserError, match="no bundle was written"):
            figures(**changes).require()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_logit_that_is_no_number_is_never_accepted(images, value):
    def broken(batch):
        logits = network(batch)
        logits[..., 0, 0] = value
        return logits

    for trained, exported in ((network, broken), (broken, network), (broken, broken)):
        with pytest.raises(UserError):
            compare(trained, exported, images).require()


def test_other_shapes_are_refused(images):
    with pytest.raises(UserError, match="logits of shape"):
        compare(network, lambda batch: network(batch)[..., 1:], images)


def test_small_errors_of_normalisation_are_found(images):
    """The commonest mistake of an export: bytes scaled by 256 instead of 255."""
    convolution = nn.Conv2d(3, 1, 3, padding=1)
    found = compare(lambda b: convolution(b / 255), lambda b: convolution(b / 256), images)
    with pytest.raises(UserError):
        found.require()


def source(*overrides: str):
    return build(check_train_config(compose_config("train", list(overrides))), "data")


def test_test_images_are_taken_before_validation_images(tmp_path):
    isic = source("data=isic2017", f"data.root={fake.isic(tmp_path, year=2017)}", "data.image_size=32")
    ids = [case.id for case in isic.cases()]
    found = find_images(isic, {"val": ids[:2], "test": ids[2:3]})
    assert found.origin == "1 test image of isic2017"
    np.testing.assert_array_equal(found.pixels[0], isic.read_training(isic.cases()[2])[0])
    assert find_images(isic, {"val": ids[:2], "test": []}).origin == "2 validation images of isic2017"
    assert find_images(isic, {"val": ["elsewhere"]}).origin == "3 images of isic2017"


def test_volumes_give_neighbouring_slices(tmp_path):
    lits = source("data=lits", f"data.root={fake.lits(tmp_path)}", "augmentation=light")
    case = lits.cases()[0]
    found = find_images(lits, {"test": [case.id]}).pixels[0]
    volume = lits.read_training(case)[0]
    middle = len(volume) // 2
    np.testing.assert_array_equal(found[..., 2], volume[middle, ..., 0])
    assert found.shape[-1] == 5


@pytest.mark.parametrize("data", ["bcss", "isic2017", "lits"])
def test_without_the_dataset_images_are_generated(data, tmp_path):
    absent = source(f"data={data}", f"data.root={tmp_path / 'none'}", "augmentation=light")
    found = find_images(absent, {"test": ["a"]})
    assert "generated" in found.origin
    assert len({image.tobytes() for image in found.pixels}) == 3
    assert all(image.dtype == np.uint8 and image.shape[2] == absent.in_channels for image in found.pixels)
    assert not (tmp_path / "none").exists()

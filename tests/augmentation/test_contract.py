"""What every conf/augmentation promises; a new one is tested by its yaml."""

import copy
import functools
import pickle

import numpy as np
import pytest

from tests.augmentation.conftest import IGNORE, sample
from tests.test_config import options
from unet_exp.build import build
from unet_exp.check import check_train_config
from unet_exp.config import compose_config

NAMES = options("augmentation")
GEOMETRIC = {"SquareSymmetry", "RotateScale", "HorizontalFlip", "VerticalFlip"}
SIZES = [(128, 128), (97, 131), (512, 512)]


@functools.cache
def built(name: str):
    return build(check_train_config(compose_config("train", ["data=bcss", f"augmentation={name}"])), "augmentation")


def pipeline(name: str):
    return copy.deepcopy(built(name))


@pytest.fixture(params=NAMES)
def augmentation(request):
    return pipeline(request.param)


@pytest.mark.parametrize("size", SIZES)
def test_samples_keep_shape_type_and_known_labels(augmentation, apply, size):
    image, labels = sample(*size)
    for seed in range(6):
        result = apply(augmentation, seed, image=image, mask=labels)
        assert result["image"].shape == (*size, 3)
        assert result["mask"].shape == size
        assert result["image"].dtype == result["mask"].dtype == np.uint8
        assert set(np.unique(result["mask"])) <= {0, 1, 2, 3, 4, IGNORE}


@pytest.mark.parametrize("size", SIZES)
def test_crops_of_a_larger_image_are_augmented_like_copies_of_them(augmentation, apply, size):
    image, labels = sample(600, 640)
    view = np.s_[11 : 11 + size[0], 7 : 7 + size[1]]
    for seed in range(4):
        of_view = apply(augmentation, seed, image=image[view], mask=labels[view])
        of_copy = apply(augmentation, seed, image=image[view].copy(), mask=labels[view].copy())
        assert np.array_equal(of_view["image"], of_copy["image"])
        assert np.array_equal(of_view["mask"], of_copy["mask"])


def test_the_random_state_decides_and_nothing_else(augmentation, apply):
    image, labels = sample()
    first = [apply(augmentation, seed, image=image, mask=labels) for seed in range(40)]
    in_a_worker = pickle.loads(pickle.dumps(augmentation))
    for seed in reversed(range(40)):  # another order: a sample must not depend on those before it
        again = apply(in_a_worker, seed, image=image, mask=labels)
        assert np.array_equal(again["image"], first[seed]["image"])
        assert np.array_equal(again["mask"], first[seed]["mask"])


LEAST_VERSIONS = {"none": 1, "light": 8, "color": 28, "histology": 32, "dermoscopy": 32, "nnunet_like": 28}
"""Of 40 samples; 'light' has eight, and of 'color' a fifth changes in orientation only."""


@pytest.mark.parametrize("name", NAMES)
def test_samples_differ(apply, name):
    image, labels = sample()
    augmentation = pipeline(name)
    versions = {apply(augmentation, seed, image=image, mask=labels)["image"].tobytes() for seed in range(40)}
    assert len(versions) >= LEAST_VERSIONS.get(name, 8)
    if name in ("none", "light"):
        assert len(versions) == LEAST_VERSIONS[name]


def test_further_images_of_a_sample_are_changed_alike(augmentation, apply):
    """The same picture passed as context must come out the same."""
    image, labels = sample()
    augmentation.add_targets({"context_image": "image", "context_mask": "mask"})
    for seed in range(25):
        result = apply(augmentation, seed, image=image, mask=labels, context_image=image, context_mask=labels)
        assert np.array_equal(result["context_image"], result["image"])
        assert np.array_equal(result["context_mask"], result["mask"])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
def test_a_context_of_half_the_resolution_stays_aligned(apply, name):
    """The middle of the context shows the sample at half its size; that must be so after augmentation too."""
    augmentation = pipeline(name)
    augmentation.transforms = [t for t in augmentation.transforms if type(t).__name__ in GEOMETRIC]
    augmentation.add_targets({"context_image": "image", "context_mask": "mask"})
    ys, xs = np.mgrid[:128, :128] - 63.5

    def landscape(ys, xs):
        return ((np.sin(ys / 19) + np.cos(xs / 23 + ys / 31) > 0.2) + 2 * (xs > 0.4 * ys + 6)).astype(np.uint8)

    labels, context = landscape(ys, xs), landscape(2 * ys, 2 * xs)
    images = [np.repeat(60 * ids[..., None], 3, axis=-1) for ids in (labels, context)]
    for seed in range(20):
        result = apply(augmentation, seed, image=images[0], mask=labels, context_image=images[1], context_mask=context)
        # Sample and context share the centre, and pixel i of the context lies at 2 i of the sample.
        near = np.s_[48:80, 48:80]
        shrunk = result["mask"].reshape(64, 2, 64, 2)[16:48, 1, 16:48, 1]
        both = (shrunk != IGNORE) & (result["context_mask"][near] != IGNORE)
        assert (shrunk == result["context_mask"][near])[both].mean() > 0.93


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIZES)
def test_labels_stay_on_what_they_label(apply, name, size):
    """Each class has its grey; after turning, scaling and mirroring, greys and ids must still agree."""
    augmentation = pipeline(name)
    augmentation.transforms = [t for t in augmentation.transforms if type(t).__name__ in GEOMETRIC]
    _, labels = sample(*size)
    image = np.repeat(labels[..., None] * 50 + 20, 3, axis=-1)
    for seed in range(12):
        result = apply(augmentation, seed, image=image, mask=labels)
        known = (result["mask"] != IGNORE) & inside_areas(result["mask"])
        assert known.mean() > 0.2
        expected = result["mask"][known] * 50.0 + 20
        assert np.abs(result["image"][known] - expected[:, None]).max() <= 2


def inside_areas(labels: np.ndarray) -> np.ndarray:
    """Pixels at least three pixels from another id and from the border."""
    import cv2

    kernel = np.ones((7, 7), np.uint8)
    padded = np.pad(labels, 1, constant_values=254)
    same = cv2.dilate(padded, kernel) == cv2.erode(padded, kernel)
    return same[1:-1, 1:-1]


def test_mistakes_in_a_range_are_explained():
    from unet_exp.errors import ConfigError

    wrong = ["data=bcss", "augmentation=histology", "augmentation.transforms.2.alpha=[1.2,0.8]"]
    with pytest.raises(ConfigError) as caught:
        check_train_config(compose_config("train", wrong))
    (mistake,) = caught.value.mistakes
    assert "transforms[2].alpha" in mistake
    assert "must not be above the second" in mistake

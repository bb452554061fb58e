"""Where patches are taken: area-weighted or balanced, never without a label, aligned with coarser levels."""

import numpy as np
import pytest

from unet_exp.data._context import ContextLevel, coarsen, context_factors, crop_mirrored
from unet_exp.data._convert import sample_locations
from unet_exp.data._dataset import PatchDataset, padded_to
from unet_exp.data._patches import PatchPicker
from unet_exp.data._store import StoredCase
from unet_exp.errors import ConfigError

IGNORE = 255


def stored(labels: np.ndarray, image: np.ndarray | None = None, classes: int = 3) -> StoredCase:
    image = np.repeat(labels[..., None], 3, axis=-1) if image is None else image
    generator = np.random.default_rng(0)
    return StoredCase(
        image,
        labels,
        np.array([np.count_nonzero(labels == k) for k in range(classes)]),
        tuple(sample_locations(labels, k, generator) for k in range(classes)),
    )


def picker(cases, *, size=16, balance="none", foreground=0.33, classes=(1, 2), grid=1) -> PatchPicker:
    return PatchPicker(
        cases, patch_size=size, balance=balance, foreground=foreground, foreground_classes=classes, grid=grid
    )


def same(**arrays):
    return arrays


same.set_random_state = lambda *_: None
same.add_targets = lambda *_: None


def dataset(cases, *, size=16, min_valid=0.25, contexts=(), **options) -> PatchDataset:
    return PatchDataset(
        cases,
        picker=picker(cases, size=size, **options),
        patch_size=size,
        length=100,
        min_valid_fraction=min_valid,
        ignore_index=IGNORE,
        contexts=contexts,
        augmentation=same,
        seed=0,
    )


def places(one: PatchPicker, count: int = 3000) -> np.ndarray:
    generator = np.random.default_rng(1)
    return np.array([one.pick(generator) for _ in range(count)])


def test_images_are_drawn_in_proportion_to_their_labelled_area():
    small, large = np.zeros((40, 40), np.uint8), np.zeros((80, 80), np.uint8)
    large[:, 40:] = IGNORE  # labelled areas 1600 and 3200
    chosen = places(picker([stored(small), stored(large)]))[:, 0]
    assert chosen.mean() == pytest.approx(2 / 3, abs=0.04)


@pytest.fixture
def unbalanced() -> list[StoredCase]:
    """Class 1 covers 1 % of one image, class 2 0.04 % of the other; class 0 the rest."""
    first, second = np.zeros((100, 100), np.uint8), np.zeros((200, 200), np.uint8)
    first[50:60, 20:30] = 1
    second[190:194, 3:7] = 2
    return [stored(first), stored(second)]


def class_hits(cases, balance, **options) -> np.ndarray:
    """Share of patches that hold each class."""
    found = []
    for choice, top, left in places(picker(cases, balance=balance, **options)):
        labels = cases[choice].labels[top : top + 16, left : left + 16]
        assert labels.shape == (16, 16)
        found.append([(labels == k).any() for k in range(3)])
    return np.mean(found, axis=0)


def test_uniform_gives_every_class_the_same_chance(unbalanced):
    assert class_hits(unbalanced, "none")[1] < 0.12
    hits = class_hits(unbalanced, "uniform")
    assert hits[1] >= 0.31
    assert hits[2] >= 0.31


def test_sqrt_lies_between(unbalanced):
    # Square roots of 49,884, 100 and 16 pixels: 223, 10, 4.
    hits = class_hits(unbalanced, "sqrt")
    assert 10 / 237 - 0.02 < hits[1] < 0.2
    assert hits[2] < class_hits(unbalanced, "uniform")[2] / 4


def test_foreground_share_is_kept(unbalanced):
    hits = class_hits(unbalanced, "foreground", foreground=0.5)
    assert hits[1] == pytest.approx(0.25 + 0.5 * class_hits(unbalanced, "none")[1], abs=0.04)
    assert class_hits(unbalanced, "foreground", foreground=0.5, classes=(2,))[2] == pytest.approx(0.5, abs=0.05)


def test_a_drawn_pixel_lies_anywhere_in_its_patch(unbalanced):
    """Centring it would teach the network where to look."""
    tops = [top for choice, top, _ in places(picker(unbalanced, balance="uniform")) if choice == 0 and 30 < top < 60]
    rows = [56 - top for top in tops]
    assert min(rows) < 4
    assert max(rows) > 12


def test_classes_that_are_nowhere_are_never_drawn():
    hits = class_hits([stored(np.zeros((40, 40), np.uint8))], "uniform")
    assert list(hits) == [1, 0, 0]
    hits = class_hits([stored(np.zeros((40, 40), np.uint8))], "foreground")
    assert list(hits) == [1, 0, 0]  # nothing to balance: from everywhere


@pytest.mark.parametrize("min_valid", [0.0, 0.25, 1.0])
def test_a_patch_always_holds_a_label(min_valid):
    """Four labelled pixels in a corner of 40,000: chance finds them once in a thousand draws."""
    labels = np.full((200, 200), IGNORE, np.uint8)
    labels[:2, :2] = 1
    one = dataset([stored(labels)], min_valid=min_valid)
    assert all((one[0, index]["mask"] != IGNORE).any() for index in range(60))


def test_the_minimum_of_labelled_pixels_is_met_where_possible():
    labels = np.full((100, 100), IGNORE, np.uint8)
    labels[:, :60] = 0
    one = dataset([stored(labels)], min_valid=0.75)
    assert min(float((one[0, index]["mask"] != IGNORE).float().mean()) for index in range(100)) >= 0.75


def test_images_smaller_than_a_patch_are_mirrored_and_not_labelled_there():
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    case = padded_to(stored(labels), 6, IGNORE)
    assert case.labels.shape == (6, 6)
    assert (case.labels[3:] == IGNORE).all()
    assert (case.labels[:, 4:] == IGNORE).all()
    assert np.array_equal(case.image[3:, :4], case.image[2::-1, :4])


# Coarser levels. The image holds its own coordinates, so that every pixel tells where it is from.

FACTOR, SIZE = 4, 32


def coordinates(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, np.zeros_like(y)], axis=-1).astype(np.uint8)


@pytest.fixture
def levels():
    image, labels = coordinates(240, 230), np.zeros((240, 230), np.uint8)
    labels[100:140, 90:130] = 1
    fine = stored(labels, image)
    coarse_image, coarse_labels = coarsen(image, labels, FACTOR, IGNORE)
    return fine, ContextLevel(FACTOR, [stored(coarse_labels, coarse_image)])


def test_the_coarse_crop_has_the_centre_of_the_patch_to_the_pixel(levels):
    fine, context = levels
    one = dataset([fine], size=SIZE, contexts=[context], grid=FACTOR)
    inside = 0
    for index in range(50):
        sample = one[0, index]
        patch, around = sample["image"][:2].numpy().astype(float), sample["image_x4"][:2].numpy().astype(float)
        # The middle SIZE / FACTOR coarse pixels cover the patch; each is the mean of its 4 x 4 fine pixels.
        first = SIZE // 2 - SIZE // (2 * FACTOR)
        middle = around[:, first : first + SIZE // FACTOR, first : first + SIZE // FACTOR]
        blocks = patch.reshape(2, SIZE // FACTOR, FACTOR, SIZE // FACTOR, FACTOR).mean((2, 4))
        assert np.abs(middle - blocks).max() <= 0.5
        mask = sample["mask"].numpy()[FACTOR // 2 :: FACTOR, FACTOR // 2 :: FACTOR]
        assert np.array_equal(
            sample["mask_x4"].numpy()[first : first + SIZE // FACTOR, first : first + SIZE // FACTOR], mask
        )
        valid = sample["valid_x4"].numpy().astype(bool)
        assert valid[first : first + SIZE // FACTOR, first : first + SIZE // FACTOR].all()
        inside += valid.all()
        # Where it is inside the image, the coarse crop continues the coordinates in steps of FACTOR.
        rows, columns = np.nonzero(valid)
        expected = patch[0, 0, 0] + (FACTOR - 1) / 2 + FACTOR * (rows - first)
        assert np.abs(around[0][rows, columns] - expected).max() <= 2.5  # the last block of the image is cut off
        assert (sample["mask_x4"].numpy()[~valid] == IGNORE).all()
    assert inside < 50


def test_beyond_the_border_the_image_is_mirrored():
    array = np.arange(5, dtype=np.uint8)[:, None] * np.ones((1, 4), np.uint8)
    window, valid = crop_mirrored(array, (-7, -1), 20)
    reference = np.pad(array, ((7, 8), (1, 15)), mode="symmetric")
    assert np.array_equal(window, reference)
    assert valid.sum() == 20
    assert valid[7:12, 1:5].all()


@pytest.mark.parametrize("size", [(8, 8), (9, 11), (15, 13)])
def test_a_coarse_pixel_is_the_mean_of_its_block(size):
    rng = np.random.default_rng(0)
    image, labels = rng.integers(0, 256, (*size, 3), np.uint8), rng.integers(0, 3, size, np.uint8)
    coarse, coarse_labels = coarsen(image, labels, 4, IGNORE)
    assert coarse.shape[:2] == coarse_labels.shape == tuple(-(-side // 4) for side in size)
    for i in range(size[0] // 4):
        for j in range(size[1] // 4):
            block = image[4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
            assert np.abs(coarse[i, j] - block.mean((0, 1))).max() <= 0.51
            assert coarse_labels[i, j] == labels[4 * i + 2, 4 * j + 2]


def test_context_resolutions_must_fit():
    assert context_factors(0.5, [1.0, 2.0], 64) == [2, 4]
    with pytest.raises(ConfigError, match=r"data\.context_mpp: 1\.2 is not a whole multiple .* data\.mpp=0\.5"):
        context_factors(0.5, [1.2], 64)
    with pytest.raises(ConfigError, match=r"data\.patch_size: 100 must be a multiple of 8"):
        context_factors(0.5, [2.0], 100)

import numpy as np
import pytest

from unet_exp.augmentation.artifact import Hairs, Ruler

SKIN = (220, 170, 150)
SIZES = [(128, 128), (97, 131), (512, 512)]


def drawn(apply, transform, size, seed):
    """Where something was drawn on plain skin, and the result."""
    image = np.full((*size, 3), SKIN, np.uint8)
    labels = np.full(size, 1, np.uint8)
    result = apply(transform, seed, image=image, mask=labels)
    assert np.array_equal(result["mask"], labels)
    assert (image == SKIN).all()
    return (result["image"] != SKIN).any(-1), result["image"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("transform", [Hairs(p=1.0), Ruler(p=1.0)], ids=["hairs", "ruler"])
def test_marks_are_few_and_darker_than_skin(apply, transform, size):
    for seed in range(8):
        where, image = drawn(apply, transform, size, seed)
        assert 0.001 < where.mean() < 0.25
        assert (image <= SKIN).all()
        assert image[where].min() < 120


def test_more_hairs_cover_more(apply):
    shares = [
        np.mean([drawn(apply, Hairs(count=(n, n), p=1.0), (256, 256), seed)[0].mean() for seed in range(8)])
        for n in (0, 5, 20)
    ]
    assert shares[0] == 0
    assert shares[1] < shares[2]
    assert shares[2] == pytest.approx(4 * shares[1], rel=0.5)


def test_hairs_are_thin_at_every_size(apply):
    """Their share of the picture is about the same, so they are drawn in proportion to it."""
    shares = [
        np.mean([(SKIN[0] - drawn(apply, Hairs(p=1.0), size, seed)[1][..., 0]).mean() for seed in range(10)])
        for size in ((128, 128), (512, 512))
    ]
    assert shares[0] == pytest.approx(shares[1], rel=0.15)


def test_a_ruler_stays_at_its_border_and_repeats(apply):
    for seed in range(8):
        where, _ = drawn(apply, Ruler(p=1.0), (256, 256), seed)
        rows, columns = where.any(1), where.any(0)
        assert min(rows.mean(), columns.mean()) < 0.2
        ticks = where.sum(0) if columns.mean() > rows.mean() else where.sum(1)
        rising = np.diff((ticks > 0.4 * ticks.max()).astype(int)) == 1
        assert np.count_nonzero(rising) >= 8

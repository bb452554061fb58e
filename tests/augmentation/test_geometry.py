import numpy as np
import pytest
import scipy.ndimage

from tests.augmentation.conftest import IGNORE, sample
from unet_exp.augmentation.geometry import RotateScale, draw_factor


@pytest.mark.parametrize(("angle", "factor"), [(30.0, 1.0), (-75.0, 1.3), (0.0, 0.7), (140.0, 0.8)])
@pytest.mark.parametrize("size", [(64, 64), (97, 131)])
def test_image_and_labels_are_those_of_scipy(angle, factor, size):
    """scipy maps output to input, in (y, x), about the centre of the pixel grid."""
    image, labels = sample(*size)
    warp = RotateScale(fill_mask=IGNORE)
    cos, sin = np.cos(np.deg2rad(angle)) / factor, np.sin(np.deg2rad(angle)) / factor
    matrix = np.array([[cos, sin], [-sin, cos]])
    center = (np.array(size) - 1) / 2
    offset = center - matrix @ center

    expected = scipy.ndimage.affine_transform(labels, matrix, offset, order=0, cval=IGNORE, mode="constant")
    same = warp.apply_to_mask(labels, angle, factor) == expected
    assert same.mean() > 0.98  # nearest neighbours differ where two are equally near

    expected = scipy.ndimage.affine_transform(
        image.astype(float), np.pad(matrix, ((0, 1), (0, 1))) + np.diag([0, 0, 1]), [*offset, 0], order=1, mode="mirror"
    )
    error = np.abs(warp.apply(image, angle, factor) - expected)
    assert error.mean() < 1.0  # OpenCV places pixels in steps of 1/32
    assert np.quantile(error, 0.99) < 5


def test_outside_the_image_is_mirrored_and_has_no_label(apply):
    image = np.full((64, 64, 3), 200, np.uint8)
    labels = np.ones((64, 64), np.uint8)
    warp = RotateScale(fill_mask=IGNORE, rotate=(45, 45), scale=(0.7, 0.7), p_rotate=1, p_scale=1)
    result = apply(warp, image=image, mask=labels)
    assert (result["image"] == 200).all()  # no black corner
    assert set(np.unique(result["mask"])) == {1, IGNORE}
    assert (result["mask"] == 1).mean() == pytest.approx(0.49, abs=0.02)


def test_rotation_and_scaling_are_drawn_independently():
    warp = RotateScale(fill_mask=IGNORE, p_rotate=0.3, p_scale=0.5)
    warp.set_random_state(np.random.default_rng(0), None)
    drawn = [warp.get_params() for _ in range(4000)]
    turned, scaled = (np.array([d[key] != neutral for d in drawn]) for key, neutral in (("angle", 0), ("factor", 1)))
    assert turned.mean() == pytest.approx(0.3, abs=0.03)
    assert scaled.mean() == pytest.approx(0.5, abs=0.03)
    assert (turned & scaled).mean() == pytest.approx(0.15, abs=0.03)


def test_factors_below_and_above_one_are_equally_likely():
    generator = np.random.default_rng(0)
    factors = np.array([draw_factor(generator, (0.7, 1.4)) for _ in range(4000)])
    assert (factors < 1).mean() == pytest.approx(0.5, abs=0.03)
    assert factors.min() >= 0.7
    assert factors.max() <= 1.4
    above = [draw_factor(generator, (1.1, 1.4)) for _ in range(100)]
    assert min(above) >= 1.1

import numpy as np
import pytest
from skimage import color

from tests.augmentation.conftest import sample
from unet_exp.augmentation.stain import StainJitter, stain_matrix
from unet_exp.data._stain import from_optical_density


def tellez_reference(image, alpha, beta):
    """Unmix, change, mix in float64 with scikit-image's matrices; its own unmixing would clip at zero."""
    density = -np.log(np.maximum(image, 1) / 255.0)
    amounts = density @ color.hed_from_rgb * alpha + beta
    return np.clip(255 * np.exp(-amounts @ color.rgb_from_hed), 0, 255)


def fixed(alpha: float, beta: float) -> StainJitter:
    return StainJitter(alpha=(alpha, alpha), beta=(beta, beta), p=1.0)


@pytest.mark.parametrize(("alpha", "beta"), [(0.8, 0.03), (1.2, -0.03), (1.0, 0.1)])
def test_the_picture_is_that_of_changed_amounts(apply, alpha, beta):
    image, _ = sample()
    result = apply(fixed(alpha, beta), image=image)["image"]
    assert np.abs(result - tellez_reference(image, alpha, beta)).max() <= 0.51


def test_each_dye_is_changed_by_its_own_factor():
    image, _ = sample()
    alpha, beta = np.array([0.7, 1.0, 1.3]), np.array([0.02, 0.0, -0.01])
    density = -np.log(np.maximum(image, 1) / 255.0)
    matrix = stain_matrix(alpha, beta)
    changed = from_optical_density((density @ matrix[:, :3].T + matrix[:, 3]).astype(np.float32))
    assert np.abs(changed - tellez_reference(image, alpha, beta)).max() <= 0.51


def test_neutral_values_change_nothing(apply):
    image = np.maximum(sample()[0], 1)
    assert np.array_equal(apply(fixed(1.0, 0.0), image=image)["image"], image)


def test_the_three_dyes_are_drawn_independently():
    jitter = StainJitter(alpha=(0.8, 1.2), beta=(0.0, 0.0), p=1.0)
    jitter.set_random_state(np.random.default_rng(0), None)
    factors = []
    for _ in range(500):
        matrix = jitter.get_params()["matrix"][:, :3].T
        factors.append(np.diag(color.rgb_from_hed @ matrix @ color.hed_from_rgb))
    factors = np.array(factors)
    assert factors.min() >= 0.8 - 1e-9
    assert factors.max() <= 1.2 + 1e-9
    assert np.abs(np.corrcoef(factors.T) - np.eye(3)).max() < 0.15

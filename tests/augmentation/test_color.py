import colorsys

import numpy as np
import pytest

from tests.augmentation.conftest import sample
from unet_exp.augmentation.color import ColorConstancyJitter, ColorJitter, color_matrix, shades_of_grey

LUMA = np.array([0.299, 0.587, 0.114])


def jitter_reference(image, brightness, contrast, saturation, hue):
    """The four changes one after the other in float64, clipped and rounded at the end only."""
    colors = image.astype(np.float64) * brightness
    mean = (colors @ LUMA).mean()
    colors = mean + contrast * (colors - mean)
    luma = (colors @ LUMA)[..., None]
    colors = luma + saturation * (colors - luma)
    grey = colors.mean(-1, keepdims=True)  # turn about the grey axis, in the plane at right angles to it
    first, second = np.array([2, -1, -1]) / np.sqrt(6), np.array([0, 1, -1]) / np.sqrt(2)
    u, v = (colors - grey) @ first, (colors - grey) @ second
    angle = 2 * np.pi * hue
    turned_u, turned_v = np.cos(angle) * u - np.sin(angle) * v, np.sin(angle) * u + np.cos(angle) * v
    return np.clip(grey + turned_u[..., None] * first + turned_v[..., None] * second, 0, 255)


def fixed(brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0) -> ColorJitter:
    pairs = ((value, value) for value in (brightness, contrast, saturation, hue))
    return ColorJitter(**dict(zip(("brightness", "contrast", "saturation", "hue"), pairs, strict=True)), p=1.0)


@pytest.mark.parametrize(
    "values",
    [
        (1.15, 1.0, 1.0, 0.0),
        (1.0, 0.75, 1.0, 0.0),
        (1.0, 1.0, 1.4, 0.0),
        (1.0, 1.0, 1.0, 0.07),
        (1.0, 1.0, 0.0, 0.0),
        (0.85, 1.15, 1.15, -0.03),
        (1.25, 0.75, 0.75, 0.5),
    ],
)
def test_colours_are_those_of_the_four_changes_in_turn(apply, values):
    image, _ = sample()
    result = apply(fixed(*values), image=image)["image"]
    assert np.abs(result - jitter_reference(image, *values)).max() <= 1.0


def test_neutral_values_change_nothing(apply):
    image, _ = sample()
    assert np.array_equal(apply(fixed(), image=image)["image"], image)


def test_hue_turns_as_in_hsv():
    """Red to green is a third of a circle; a small turn agrees with HSV to a few degrees."""
    assert color_matrix(1, 1, 1, 1 / 3, mean_luma=0)[:, :3] @ [200, 0, 0] == pytest.approx([0, 200, 0], abs=1e-9)
    color = np.array([200.0, 120.0, 90.0])
    turned = color_matrix(1, 1, 1, 0.05, mean_luma=0)[:, :3] @ color
    hues = [colorsys.rgb_to_hsv(*(c / 255))[0] for c in (color, turned)]
    assert hues[1] - hues[0] == pytest.approx(0.05, abs=0.01)


def test_parameters_cover_their_ranges(apply):
    image = np.full((8, 8, 3), 100, np.uint8)
    jitter = ColorJitter(brightness=(0.5, 1.5), contrast=(1, 1), saturation=(1, 1), hue=(0, 0), p=1.0)
    values = [apply(jitter, seed, image=image)["image"][0, 0, 0] for seed in range(1000)]
    assert 50 <= min(values) <= 51
    assert 149 <= max(values) <= 150
    assert np.mean(values) == pytest.approx(100, abs=4)


def test_shades_of_grey_is_the_minkowski_mean():
    image, _ = sample()
    step = 2  # 128 x 128 pixels, of which 64 x 64 are looked at
    values = np.maximum(image[::step, ::step].reshape(-1, 3), 1).astype(float)
    for norm in (1.0, 6.0):
        expected = [(np.mean(channel**norm)) ** (1 / norm) for channel in values.T]
        assert shades_of_grey(image, norm) == pytest.approx(expected, rel=1e-6)
    assert shades_of_grey(np.zeros((8, 8, 3), np.uint8), 6.0) == pytest.approx([1, 1, 1])


def test_a_full_correction_makes_the_light_neutral(apply):
    generator = np.random.default_rng(0)
    image = (generator.uniform(40, 120, (64, 64, 1)) * [1.5, 1.0, 0.8]).astype(np.uint8)
    jitter = ColorConstancyJitter(correction=(1, 1), cast=1e-6, p=1.0)
    light = shades_of_grey(apply(jitter, image=image)["image"], 6.0)
    assert light.max() / light.min() < 1.02
    before = shades_of_grey(image, 6.0)
    assert np.prod(light) == pytest.approx(np.prod(before), rel=0.05)  # no brighter, no darker


def test_a_cast_keeps_to_its_limit(apply):
    image = np.full((16, 16, 3), 128, np.uint8)
    jitter = ColorConstancyJitter(correction=(0, 0), cast=0.1, p=1.0)
    values = np.array([apply(jitter, seed, image=image)["image"][0, 0] for seed in range(300)]) / 128
    assert values.std(0).min() > 0.03
    assert values.max() <= 1.1 ** (4 / 3) + 0.01  # a channel alone can be as far as 4/3 from the mean of three
    assert values.min() >= 1.1 ** (-4 / 3) - 0.01

import numpy as np
import pytest

from tests.augmentation.conftest import sample
from unet_exp.augmentation.intensity import ChannelContrast, Gamma


def gamma_reference(channel, exponent, *, invert):
    """nnU-Net's formula on floats: negative, power on the channel's own range, mean and deviation restored."""
    values = -channel.astype(float) if invert else channel.astype(float)
    low, span = values.min(), values.max() - values.min()
    bent = ((values - low) / span) ** exponent * span + low
    bent = (bent - bent.mean()) / bent.std() * values.std() + values.mean()
    return np.clip(-bent if invert else bent, 0, 255)


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("exponent", [0.7, 1.5])
def test_gamma_is_that_of_nnunet(apply, exponent, invert):
    image = 40 + sample()[0] // 2
    result = apply(Gamma(gamma=(exponent, exponent), invert=invert, p=1.0), image=image)["image"]
    for channel in range(3):
        expected = gamma_reference(image[..., channel], exponent, invert=invert)
        assert np.abs(result[..., channel] - expected).max() <= 0.51


def test_gamma_leaves_a_constant_image(apply):
    image = np.full((16, 16, 3), 77, np.uint8)
    assert np.array_equal(apply(Gamma(p=1.0), image=image)["image"], image)


@pytest.mark.parametrize("keep_range", [False, True])
@pytest.mark.parametrize("factor", [0.75, 1.25])
def test_contrast_is_about_the_mean_of_each_channel(apply, factor, keep_range):
    image = 30 + sample()[0] // 2
    contrast = ChannelContrast(contrast=(factor, factor), keep_range=keep_range, p=1.0)
    result = apply(contrast, image=image)["image"]
    mean = image.mean((0, 1))
    expected = mean + factor * (image - mean)
    if keep_range:
        expected = expected.clip(image.min((0, 1)), image.max((0, 1)))
    assert np.abs(result - expected.clip(0, 255)).max() <= 0.51


def test_channels_are_changed_independently(apply):
    image = np.repeat(sample()[0][..., :1], 3, axis=-1)
    result = apply(ChannelContrast(contrast=(0.5, 1.5), p=1.0), image=image)["image"]
    assert not np.array_equal(result[..., 0], result[..., 1])
    assert not np.array_equal(result[..., 1], result[..., 2])


def test_further_images_get_the_tables_of_the_first(apply):
    """Statistics of the context itself would give it another change of contrast."""
    first, second = sample(seed=0)[0], sample(seed=1)[0] // 2
    transform = ChannelContrast(contrast=(0.5, 0.5), keep_range=False, p=1.0)
    transform.add_targets({"context_image": "image"})
    result = apply(transform, image=first, context_image=second)["context_image"]
    assert np.abs(result - (first.mean((0, 1)) + 0.5 * (second - first.mean((0, 1))))).max() <= 0.51

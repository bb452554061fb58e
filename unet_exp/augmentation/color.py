"""Changes of colour, each a single affine map of the three channels."""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unet_exp.augmentation._base import ImageTransform, NonNegativeRange, Params, Pixels, Range
from unet_exp.bounds import PositiveFloat, Probability

_LUMA = np.array([0.299, 0.587, 0.114])
"""Share of red, green and blue in brightness (ITU-R BT.601)."""
_TO_LUMA = np.tile(_LUMA, (3, 1))
"""Maps a colour to the grey of its luma."""
_ALONG = np.full((3, 3), 1 / 3)
"""Maps a colour to its component along the grey axis (1, 1, 1)."""
_ACROSS = np.eye(3) - _ALONG
_CROSS = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
"""The vector product with the unit vector along the grey axis."""
_LIGHT_PIXELS = 4096


class ColorJitter(ImageTransform):
    """Changes brightness, contrast, saturation and hue, all four in one affine map of the colours.

    With luma weights w = (0.299, 0.587, 0.114), in this order:

    - brightness b: x -> b x
    - contrast c: x -> m + c (x - m), where m is the mean luma of the sample's `image` at that point
    - saturation s: x -> l + s (x - l), where l = w.x is the luma of the pixel
    - hue h: a turn by h full circles about the grey axis (1, 1, 1)

    Their product is one 3x3 matrix and an offset, applied to bytes by `cv2.transform`. Only the result is
    rounded and clipped, where `albumentations.ColorJitter` rounds and clips after each of the four, turns the hue
    in HSV, and draws the order.

    Args:
        brightness: Range of b.
        contrast: Range of c.
        saturation: Range of s.
        hue: Range of h in full circles, so that 0.5 is the complementary colour.
        p: Share of the samples that are changed.
    """

    def __init__(
        self,
        *,
        brightness: NonNegativeRange = (0.85, 1.15),
        contrast: NonNegativeRange = (0.85, 1.15),
        saturation: NonNegativeRange = (0.85, 1.15),
        hue: Range = (-0.03, 0.03),
        p: Probability = 0.8,
    ) -> None:
        super().__init__(p=p)
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue

    @property
    def targets_as_params(self) -> list[str]:
        """The mean luma is taken from the image."""
        return ["image"]

    def get_params_dependent_on_data(self, params: Params, data: Params) -> dict[str, Any]:  # noqa: ARG002
        """Draw the four values; their map is the same for all images of the sample."""
        brightness, contrast = self.uniform(self.brightness), self.uniform(self.contrast)
        saturation, hue = self.uniform(self.saturation), self.uniform(self.hue)
        luma = float(_LUMA @ cv2.mean(data["image"])[:3])
        return {"matrix": color_matrix(brightness, contrast, saturation, hue, mean_luma=luma)}

    def apply(self, img: Pixels, matrix: NDArray[np.float64], **params: Any) -> Pixels:  # noqa: ARG002
        """Map the colours of an image (H, W, 3)."""
        return np.asarray(cv2.transform(img, matrix), np.uint8)


def color_matrix(
    brightness: float, contrast: float, saturation: float, hue: float, *, mean_luma: float
) -> NDArray[np.float64]:
    """The affine map (3, 4) of `ColorJitter`; the last column is the offset.

    Args:
        brightness: Factor.
        contrast: Factor of the distance to the mean luma.
        saturation: Factor of the distance to a pixel's own luma.
        hue: Turn about the grey axis in full circles.
        mean_luma: Mean luma of the image before any change.
    """
    # A turn keeps the component along the axis and turns what is left (Rodrigues' formula).
    angle = 2 * math.pi * hue
    turn = _ALONG + math.cos(angle) * _ACROSS + math.sin(angle) * _CROSS
    saturate = saturation * np.eye(3) + (1 - saturation) * _TO_LUMA
    # Grey, and with it the offset of the contrast, is left as it is by saturation and hue.
    offset = np.full((3, 1), (1 - contrast) * brightness * mean_luma)
    return np.hstack([turn @ saturate * (contrast * brightness), offset])


class ColorConstancyJitter(ImageTransform):
    """Shows the sample as under another light: one factor per channel.

    The light is estimated by Shades of Grey (Finlayson & Trezzi, 2004): each channel's Minkowski mean. The
    sample is brought a drawn share of the way to neutral light, and then lit by a drawn one; overall brightness
    is kept. After Galdran et al. 2017 (arXiv 1703.03702), who light dermoscopic images by one another's estimates.

    Args:
        correction: Range of the share of the estimated colour cast that is taken away, 0 to 1.
        cast: Largest relative change of a channel by the drawn light.
        norm: Exponent of the Minkowski mean; 1 is Grey World, infinity the brightest pixel.
        p: Share of the samples that are changed.
    """

    def __init__(
        self,
        *,
        correction: NonNegativeRange = (0.0, 0.3),
        cast: PositiveFloat = 0.05,
        norm: PositiveFloat = 6.0,
        p: Probability = 0.8,
    ) -> None:
        super().__init__(p=p)
        self.correction = correction
        self.cast = cast
        self.norm = norm

    @property
    def targets_as_params(self) -> list[str]:
        """The light is estimated from the image."""
        return ["image"]

    def get_params_dependent_on_data(self, params: Params, data: Params) -> dict[str, Any]:  # noqa: ARG002
        """Draw the factors of the channels."""
        cast = self.random_generator.uniform(-1, 1, 3) * math.log1p(self.cast)
        light = np.log(shades_of_grey(data["image"], self.norm))
        logarithm = cast - cast.mean() - self.uniform(self.correction) * (light - light.mean())
        return {"matrix": np.diag(np.exp(logarithm))}

    def apply(self, img: Pixels, matrix: NDArray[np.float64], **params: Any) -> Pixels:  # noqa: ARG002
        """Multiply the channels of an image (H, W, 3)."""
        return np.asarray(cv2.transform(img, matrix), np.uint8)


def shades_of_grey(image: Pixels, norm: float) -> NDArray[np.float64]:
    """Estimate the colour of the light: the Minkowski mean of every channel.

    Args:
        image: (H, W, 3); some thousand evenly spaced pixels are looked at.
        norm: Exponent of the mean.

    Returns:
        (3,) in grey levels, at least 1.
    """
    step = max(1, round(math.sqrt(image.shape[0] * image.shape[1] / _LIGHT_PIXELS)))
    values = np.maximum(image[::step, ::step].reshape(-1, 3), 1) / 255.0
    return np.asarray(np.power(np.power(values, norm).mean(0), 1 / norm) * 255.0)

"""nnU-Net's changes of contrast and gamma: every channel for itself, from its own statistics.

Isensee et al., nnU-Net, Nature Methods 2021; here on bytes, by tables of 256 entries.
"""

from abc import abstractmethod
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unet_exp.augmentation._base import ImageTransform, NonNegativeRange, Params, Pixels, PositiveRange
from unet_exp.augmentation.geometry import draw_factor
from unet_exp.bounds import Probability

Histogram = NDArray[np.float64]
"""(256,) pixels per grey level."""
_LEVELS = np.arange(256.0)


class _TableTransform(ImageTransform):
    """Maps every channel by a table made from the channel's histogram in the sample's `image`."""

    @property
    def targets_as_params(self) -> list[str]:
        """The tables are made from the image."""
        return ["image"]

    @abstractmethod
    def draw_table(self, histogram: Histogram) -> NDArray[np.float64]:
        """The new value (256,) of every grey level of a channel."""

    def get_params_dependent_on_data(self, params: Params, data: Params) -> dict[str, Any]:  # noqa: ARG002
        """Draw the tables; they are the same for all images of the sample."""
        image = data["image"]
        histograms = [cv2.calcHist([image], [c], None, [256], [0, 256]).ravel() for c in range(3)]
        tables = [self.draw_table(histogram.astype(np.float64)) for histogram in histograms]
        return {"tables": np.stack(tables, axis=-1).round().clip(0, 255).astype(np.uint8)[None]}

    def apply(self, img: Pixels, tables: Pixels, **params: Any) -> Pixels:  # noqa: ARG002
        """Look up an image (H, W, 3) in the tables (1, 256, 3)."""
        return np.asarray(cv2.LUT(img, tables), np.uint8)


class ChannelContrast(_TableTransform):
    """Stretches every channel about its mean.

    Args:
        contrast: Range of the factor.
        keep_range: Clip each channel to the values it had.
        p: Share of the samples that are changed.
    """

    def __init__(
        self, *, contrast: NonNegativeRange = (0.75, 1.25), keep_range: bool = True, p: Probability = 0.15
    ) -> None:
        super().__init__(p=p)
        self.contrast = contrast
        self.keep_range = keep_range

    def draw_table(self, histogram: Histogram) -> NDArray[np.float64]:
        """Stretch the grey levels of a channel."""
        mean, _ = _moments(histogram, _LEVELS)
        stretched = mean + self.uniform(self.contrast) * (_LEVELS - mean)
        return stretched.clip(*_extremes(histogram)) if self.keep_range else stretched


class Gamma(_TableTransform):
    """Raises every channel, scaled to its own range, to a power; mean and deviation are restored.

    Args:
        gamma: Range of the exponent; below and above 1 are equally likely.
        invert: Raise the negative of the image instead.
        p: Share of the samples that are changed.
    """

    def __init__(
        self,
        *,
        gamma: PositiveRange = (0.7, 1.5),
        invert: bool = False,
        p: Probability = 0.3,
    ) -> None:
        super().__init__(p=p)
        self.gamma = gamma
        self.invert = invert

    def draw_table(self, histogram: Histogram) -> NDArray[np.float64]:
        """Bend the grey levels of a channel."""
        exponent = draw_factor(self.random_generator, self.gamma)
        low, high = _extremes(histogram)
        if low == high:
            return _LEVELS
        share = np.clip((_LEVELS - low) / (high - low), 0, 1)
        bent = 1 - (1 - share) ** exponent if self.invert else share**exponent
        (mean, deviation), (new_mean, new_deviation) = _moments(histogram, _LEVELS), _moments(histogram, bent)
        return mean + (bent - new_mean) * (deviation / new_deviation)


def _extremes(histogram: Histogram) -> tuple[float, float]:
    """Lowest and highest grey level that occurs."""
    used = np.flatnonzero(histogram)
    return float(used[0]), float(used[-1])


def _moments(histogram: Histogram, values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation of a channel whose grey levels have these values."""
    mean = float(np.average(values, weights=histogram))
    return mean, float(np.sqrt(np.average((values - mean) ** 2, weights=histogram)))

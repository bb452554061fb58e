"""Rotation and scale."""

from typing import Any

import albumentations
import cv2
import numpy as np

from unet_exp.augmentation._base import Pixels, PositiveRange, Range
from unet_exp.bounds import Probability


class RotateScale(albumentations.DualTransform):  # type: ignore[misc]
    """Turns and scales the sample about its centre.

    Beyond its border the image is mirrored, and the class ids become `fill_mask`: nobody labelled what is
    there. (`albumentations.Affine` can only mirror both or fill both.)

    Args:
        fill_mask: Class id of pixels from outside the sample; the dataset's `ignore_index`.
        rotate: Angle in degrees, counterclockwise.
        scale: Factor; above 1 enlarges. Factors below and above 1 are equally likely where the range has both.
        p_rotate: Share of the samples that are turned.
        p_scale: Share of the samples that are scaled, independently of turning.
    """

    _targets = (albumentations.core.type_definitions.Targets.IMAGE, albumentations.core.type_definitions.Targets.MASK)
    random_generator: np.random.Generator

    def __init__(
        self,
        *,
        fill_mask: int,
        rotate: Range = (-180.0, 180.0),
        scale: PositiveRange = (0.7, 1.4),
        p_rotate: Probability = 0.2,
        p_scale: Probability = 0.2,
    ) -> None:
        super().__init__(p=1.0)
        self.fill_mask = fill_mask
        self.rotate = rotate
        self.scale = scale
        self.p_rotate = p_rotate
        self.p_scale = p_scale

    def get_params(self) -> dict[str, Any]:
        """Draw angle and factor."""
        turns, scales = self.random_generator.random(2) < (self.p_rotate, self.p_scale)
        return {
            "angle": float(self.random_generator.uniform(*self.rotate)) if turns else 0.0,
            "factor": draw_factor(self.random_generator, self.scale) if scales else 1.0,
        }

    def apply(self, img: Pixels, angle: float, factor: float, **params: Any) -> Pixels:  # noqa: ARG002
        """Warp an image (H, W, 3), mirrored beyond its border."""
        return self._warp(img, angle, factor, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101)

    def apply_to_mask(self, mask: Pixels, angle: float, factor: float, **params: Any) -> Pixels:  # noqa: ARG002
        """Warp class ids (H, W) by nearest neighbour."""
        return self._warp(mask, angle, factor, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)

    def _warp(self, array: Pixels, angle: float, factor: float, interpolation: int, border: int) -> Pixels:
        if angle == 0.0 and factor == 1.0:
            return array
        height, width = array.shape[:2]
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, factor)
        warped = cv2.warpAffine(
            array, matrix, (width, height), flags=interpolation, borderMode=border, borderValue=self.fill_mask
        )
        return np.asarray(warped, np.uint8)


def draw_factor(generator: np.random.Generator, limits: tuple[float, float]) -> float:
    """A factor from a range around 1, below and above it with equal probability.

    Drawn uniformly, a range such as 0.7 to 1.4 would enlarge more often than shrink.
    """
    low, high = limits
    if low < 1.0 < high:
        low, high = (low, 1.0) if generator.random() < 0.5 else (1.0, high)
    return float(generator.uniform(low, high))

"""Variation of the stain of histological sections."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unet_exp.augmentation._base import ImageTransform, NonNegativeRange, Pixels, Range
from unet_exp.bounds import Probability
from unet_exp.data._stain import HED_FROM_RGB, RGB_FROM_HED, from_optical_density, optical_density


class StainJitter(ImageTransform):
    """Changes the amounts of haematoxylin, eosin and the residual dye, each by its own factor and shift.

    Tellez et al. 2018 (IEEE TMI 37(9), 2126-2136) and 2019 (arXiv 1902.06543): optical density is unmixed into
    dyes by Ruifrok and Johnston's matrix, each dye c becomes alpha c + beta, and the dyes are mixed again. All of
    it is one affine map of the optical density. Amounts below zero are kept, so that nothing changes for
    alpha 1 and beta 0.

    Args:
        alpha: Range of the factors.
        beta: Range of the shifts, in natural optical density: 0.02 darkens an empty slide by about 2 %.
        p: Share of the samples that are changed.
    """

    def __init__(
        self, *, alpha: NonNegativeRange = (0.8, 1.2), beta: Range = (-0.03, 0.03), p: Probability = 0.8
    ) -> None:
        super().__init__(p=p)
        self.alpha = alpha
        self.beta = beta

    def get_params(self) -> dict[str, Any]:
        """Draw three factors and three shifts."""
        alpha = self.random_generator.uniform(*self.alpha, 3)
        beta = self.random_generator.uniform(*self.beta, 3)
        return {"matrix": stain_matrix(alpha, beta)}

    def apply(self, img: Pixels, matrix: NDArray[np.float64], **params: Any) -> Pixels:  # noqa: ARG002
        """Map the optical density of an image (H, W, 3)."""
        return from_optical_density(np.asarray(cv2.transform(optical_density(img), matrix), np.float32))


def stain_matrix(alpha: NDArray[np.float64], beta: NDArray[np.float64]) -> NDArray[np.float64]:
    """The map (3, 4) of optical densities that changes the amounts of the three dyes; last column: the offset.

    Args:
        alpha: (3,) factors of haematoxylin, eosin and residual.
        beta: (3,) shifts.
    """
    # Rows of both matrices are vectors, OpenCV multiplies columns: hence the transposition.
    return np.vstack([HED_FROM_RGB @ np.diag(alpha) @ RGB_FROM_HED, beta @ RGB_FROM_HED]).T

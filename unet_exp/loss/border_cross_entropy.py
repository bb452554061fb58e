"""Cross-entropy with the weight map of the UNet paper, which stresses the gaps between touching objects.

Meaningful only where the foreground consists of many separate objects (cells in a dish). Tissue regions and
single lesions have no gaps to protect: there the map is flat and the loss is plain cross-entropy, only
slower.
"""

from collections.abc import Sequence
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from unet_exp.bounds import NonNegativeFloat, PositiveFloat
from unet_exp.loss._common import pixel_weights, prepare, true_log_probability, weight_tensor, weighted_mean

_REACH = 6
"""Distances above this many sigma count as infinite: the weight there is below w0 x 2e-8."""


def border_weights(foreground: NDArray[np.bool_], *, border_weight: float, sigma: float) -> NDArray[np.float32]:
    r"""Return the border term of one image's weight map (Ronneberger et al. 2015, arXiv 1505.04597, eq. 2).

    .. math:: w_0 \exp\left(-\frac{(d_1 + d_2)^2}{2 \sigma^2}\right)

    :math:`d_1` and :math:`d_2` are a background pixel's distances to the nearest and the second nearest
    object. Objects are the 4-connected components of the foreground, so two cells that meet at a corner stay
    two. Inside an object, and with fewer than two objects, the term is 0.

    Args:
        foreground: ``(H, W)``.
        border_weight: w0.
        sigma: width of the stressed gap, in pixels.
    """
    objects, _ = ndimage.label(foreground)
    nearest = np.full(foreground.shape, np.inf)
    second = np.full(foreground.shape, np.inf)
    margin = ceil(_REACH * sigma)
    for number, box in enumerate(ndimage.find_objects(objects), start=1):
        window = tuple(slice(max(0, side.start - margin), side.stop + margin) for side in box)
        distance = ndimage.distance_transform_edt(objects[window] != number)
        second[window] = np.minimum(second[window], np.maximum(nearest[window], distance))
        nearest[window] = np.minimum(nearest[window], distance)
    term = border_weight * np.exp(-((nearest + second) ** 2) / (2 * sigma**2))
    return np.where(foreground, 0.0, term).astype(np.float32)


def border_cross_entropy_loss(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int,
    border_weight: float = 10.0,
    sigma: float = 5.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    r"""Return cross-entropy under the weights :math:`w(x) = w_c(x) + w_0 \exp(\ldots)` of the UNet paper.

    It is the weighted mean over the pixels that are not ignored (the paper sums), so with fewer than two
    objects it equals the cross-entropy; without any valid pixel it is 0. The map is computed from the target
    on the CPU in every call, for each image, at a cost that grows with the number of objects. Ignored pixels
    belong to no object.

    Args:
        logits: ``(N, C, H, W)``; C = 1 is a single foreground logit.
        target: ``(N, H, W)``, class ids or ``ignore_index``; class 0 is the background.
        ignore_index: label of the pixels that do not count.
        border_weight: w0, the weight that a vanishing gap would add.
        sigma: width of the stressed gaps, in pixels of the target given.
        class_weights: w_c, ``(K,)``; None is 1 for all classes.
    """
    pixels = prepare(logits, target, ignore_index=ignore_index)
    border = np.stack(
        [
            border_weights(image, border_weight=border_weight, sigma=sigma)
            for image in (pixels.labels > 0).cpu().numpy()  # ignored pixels have label 0 here
        ]
    )
    weights = pixel_weights(pixels, class_weights) + torch.from_numpy(border).to(pixels.logits) * pixels.valid
    return weighted_mean(-true_log_probability(pixels), weights)


class BorderCrossEntropyLoss(nn.Module):
    """Cross-entropy with UNet's weight map, for touching objects (see :func:`border_cross_entropy_loss`).

    Args:
        ignore_index: label of the pixels that do not count.
        border_weight: w0, the weight that a vanishing gap would add.
        sigma: width of the stressed gaps, in pixels.
        class_weights: w_c, one weight per class; None for 1.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        ignore_index: int,
        *,
        border_weight: NonNegativeFloat = 10.0,
        sigma: PositiveFloat = 5.0,
        class_weights: Sequence[NonNegativeFloat] | None = None,
    ) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.border_weight = border_weight
        self.sigma = sigma
        self.register_buffer("class_weights", weight_tensor(class_weights), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of ``(N, C, H, W)`` logits and an ``(N, H, W)`` target."""
        return border_cross_entropy_loss(
            logits,
            target,
            ignore_index=self.ignore_index,
            border_weight=self.border_weight,
            sigma=self.sigma,
            class_weights=self.class_weights,
        )

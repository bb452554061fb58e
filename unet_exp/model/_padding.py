"""Padding an image to a size that a network can halve evenly, and cropping its output back."""

import torch
import torch.nn.functional as F
from torch import Tensor


def pad_to_stride(image: Tensor, stride: int) -> Tensor:
    """Repeats the bottom and right border until both sides are multiples of ``stride``, two at least.

    Two and not one, because batch and instance normalisation have no statistics over a single position and
    torch refuses a 1x1 bottleneck; images of one stride or less are padded to two strides instead. Replicated
    pixels keep the statistics near those of the image, and unlike reflection work on images of any size.

    Args:
        image: ``(N, C, H, W)``.
        stride: Input pixels per position of the bottleneck.

    Returns:
        ``(N, C, H', W')`` with ``H' >= H`` and ``W' >= W``; the image itself where it fits already.
    """
    height, width = image.shape[-2:]
    bottom = max(2, _ceil_divide(height, stride)) * stride - height
    right = max(2, _ceil_divide(width, stride)) * stride - width
    if bottom == 0 and right == 0:
        return image
    return F.pad(image, (0, right, 0, bottom), mode="replicate")


def pad_mirrored(image: Tensor, margin: int) -> Tensor:
    """Mirrors an image at its borders, as often as the margin needs; the border itself is repeated (1 0 | 0 1).

    Args:
        image: ``(N, C, H, W)``.
        margin: Pixels added on each side, of any number.

    Returns:
        ``(N, C, H + 2 * margin, W + 2 * margin)``.
    """
    if margin == 0:
        return image
    for axis in (-2, -1):
        length = image.shape[axis]
        period = torch.full((1,), 2 * length, device=image.device)  # a tensor, for ONNX has no remainder by a size
        folded = torch.arange(-margin, length + margin, device=image.device).remainder(period)
        image = image.index_select(axis, torch.minimum(folded, period - 1 - folded))
    return image


def crop_to_scale(logits: Tensor, size: tuple[int, int], scale: int) -> Tensor:
    """Cuts off what :func:`pad_to_stride` added, at the scale ``1 / 2**scale``.

    Args:
        logits: ``(N, K, H' / 2**scale, W' / 2**scale)``, from a padded image.
        size: ``(H, W)`` of the image before padding.
        scale: 0 for full resolution, 1 for half, and so on.

    Returns:
        ``(N, K, ceil(H / 2**scale), ceil(W / 2**scale))``.
    """
    factor = 2**scale
    return logits[..., : _ceil_divide(size[0], factor), : _ceil_divide(size[1], factor)]


def center_crop(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Cuts the centre of ``size`` (height, width) out of ``(N, C, H, W)``."""
    top = (features.shape[-2] - size[0]) // 2
    left = (features.shape[-1] - size[1]) // 2
    return features[..., top : top + size[0], left : left + size[1]]


def _ceil_divide(numerator: int, denominator: int) -> int:
    return (numerator + denominator - 1) // denominator  # of positive numbers: an exported network rounds towards zero

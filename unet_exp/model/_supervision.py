"""Deep supervision: the layers that predict at several scales of a decoder, with or without adding them up.

Two kinds, which combine:

- Summation in the network: the logits of the ``segmentation_levels`` finest scales are upsampled and added,
  and one loss sees the sum (Isensee et al. 2017, https://arxiv.org/abs/1802.10508).
- A loss per scale: ``supervision_weights`` has the weight of the loss at each decoder scale from fine to
  coarse; entry 0 is full resolution, entry i the scale 1/2^i. nnU-Net weights them 1, 1/2, 1/4, ... and
  leaves the coarsest out (Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z).

The network only asks which weights are zero. A head whose logits reach no loss would be a parameter without a
gradient, so it is not built.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from unet_exp.model._padding import center_crop, crop_to_scale


def supervised_scales(supervision_weights: Sequence[float], decoder_scales: int) -> tuple[int, ...]:
    """The scales with a loss, fine to coarse, always beginning with 0.

    Args:
        supervision_weights: One weight per scale; missing ones are zero.
        decoder_scales: How many scales the decoder has.

    Raises:
        ValueError: There are more weights than scales, one is negative, or full resolution has none.
    """
    weights = [float(weight) for weight in supervision_weights]
    if len(weights) > decoder_scales:
        raise ValueError(
            f"`supervision_weights` has {len(weights)} entries, but the decoder has {decoder_scales} "
            f"scale(s): give at most {decoder_scales} weight(s), or raise `depth`."
        )
    if not weights or weights[0] <= 0 or min(weights) < 0:
        raise ValueError(
            f"`supervision_weights` must begin with a weight above 0 (full resolution) and have none below, "
            f"but got {weights}: use [1.0] for no deep supervision."
        )
    return tuple(scale for scale, weight in enumerate(weights) if weight > 0)


class SegmentationHeads(nn.Module):
    """Turns the features of a decoder into class logits.

    In training with more than one supervised scale, returns a list of logits from fine to coarse; otherwise,
    and always in evaluation, the full-resolution logits alone. Scale i within ``segmentation_levels`` returns
    the sum of the logits up to there; a coarser one is outside the sum and has a 1x1 convolution of its own.

    Args:
        channels: Channels of the features of each decoder scale, fine to coarse.
        num_classes: Channels of the logits.
        supervision_weights: Weight of the loss at each scale, fine to coarse.
        segmentation_levels: At how many of the finest scales the logits are added; 1 for no summation.
        kernel_size: Of the convolutions inside the sum, odd.
        activation: Put after each of these; None for linear ones.
        output: Put after the sum, and alike after each partial sum that is returned; None for nothing.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        supervision_weights: Sequence[float],
        *,
        segmentation_levels: int = 1,
        kernel_size: int = 1,
        activation: nn.Module | None = None,
        output: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if segmentation_levels > len(channels):
            raise ValueError(
                f"`segmentation_levels` is {segmentation_levels}, but the decoder has {len(channels)} "
                f"scale(s): give at most {len(channels)}, or raise `depth`."
            )
        self.scales = supervised_scales(supervision_weights, len(channels))
        self.summed = nn.ModuleList(
            nn.Conv2d(width, num_classes, kernel_size, padding=kernel_size // 2)
            for width in channels[:segmentation_levels]
        )
        self.activation = activation or nn.Identity()
        self.output = output or nn.Identity()
        self.separate = nn.ModuleDict(
            {str(i): nn.Conv2d(channels[i], num_classes, 1) for i in self.scales if i >= segmentation_levels}
        )

    def forward(self, features: Sequence[Tensor], size: tuple[int, int] | None) -> Tensor | list[Tensor]:
        """Predicts at the supervised scales.

        Args:
            features: One ``(N, C_i, H_i, W_i)`` per decoder scale, fine to coarse.
            size: ``(H, W)`` of the image before padding, to which the logits are cropped; None: no cropping.

        Returns:
            ``(N, K, H, W)``, or a list of ``(N, K, ceil(H / 2**i), ceil(W / 2**i))``.
        """
        logits: dict[int, Tensor] = {}
        total: Tensor | None = None
        for scale in reversed(range(len(self.summed))):
            segmented = self.activation(self.summed[scale](features[scale]))
            if total is not None:
                upsampled = F.interpolate(total, scale_factor=2.0, mode="nearest")
                # Only unpadded convolutions make the finer scale smaller than twice the coarser one.
                segmented = segmented + center_crop(upsampled, (segmented.shape[-2], segmented.shape[-1]))
            total = segmented
            if scale == 0 or (self.training and scale in self.scales):
                logits[scale] = self.output(total)
        if self.training:
            for scale_name, head in self.separate.items():
                logits[int(scale_name)] = head(features[int(scale_name)])
        predictions = [
            logits[scale] if size is None else crop_to_scale(logits[scale], size, scale) for scale in sorted(logits)
        ]
        return predictions if len(predictions) > 1 else predictions[0]

"""ResUNet: a UNet whose levels are residual blocks.

Paper: Han, *Automatic Liver Lesion Segmentation Using A Deep Convolutional Neural Network Method*, 2017,
https://arxiv.org/abs/1704.07239 (best submission to the LiTS challenge at ISBI 2017)

This is a reconstruction. The text gives: 32 convolutional layers, 3x3 kernels, batch normalisation after each
convolution, PReLU, long skip connections that concatenate as in U-Net, short ones that add as in ResNet, and
one feature map (128 channels at half resolution, hence 64 at full). It does not list the layers. Two
convolutions in each of the nine blocks of a UNet of depth 4, a 1x1 projection for the shortcut of each, four
up-convolutions and the head are 32 as well.

Not to be confused with Deep ResUNet (Zhang et al. 2018, pre-activation, strided convolutions), ResUNet-a
(Diakogiannis et al. 2020) or ResUNet++ (Jha et al. 2019).

Differs from the paper, or is our choice where it is silent:
    - Shortcuts, up-convolutions (2x2) and the head are no 3x3 convolutions, as in ResNet and U-Net.
    - Projections have a batch normalisation; up-convolutions and the head have a bias and none.
    - PReLU after the addition, one slope per channel; max-pooling between levels.
    - Any height and width is padded to a multiple of the stride and cropped back.
    - ``segmentation_levels`` and ``supervision_weights`` add predictions at coarser decoder scales.
    - The paper's 2.5D input is ``in_channels=5``: five neighbouring slices, of which the middle one is
      segmented.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from unet_exp.bounds import NonNegativeFloat, PositiveFloat, PositiveInt
from unet_exp.model._init import he_normal_
from unet_exp.model._padding import pad_to_stride
from unet_exp.model._supervision import SegmentationHeads
from unet_exp.model._width import level_widths

PRELU_SLOPE = 0.25  # where the slopes start (He et al. 2015)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions added to a 1x1 projection of the input: PReLU(f(x) + projection(x)).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.PReLU(out_channels, init=PRELU_SLOPE),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.projection = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.activation = nn.PReLU(out_channels, init=PRELU_SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(N, in_channels, H, W)`` to ``(N, out_channels, H, W)``."""
        activated: Tensor = self.activation(self.body(x) + self.projection(x))
        return activated


class ResUNet(nn.Module):
    """ResUNet, reconstructed after Han (2017).

    Args:
        in_channels: Channels of the image; 5 for five neighbouring slices (2.5D).
        num_classes: Channels of the logits; 1 for a binary mask.
        base_channels: Channels at full resolution; every level down doubles them. Not whole: each level is rounded.
        depth: How often the resolution is halved.
        segmentation_levels: At how many of the finest decoder scales the logits are added up; 1 for no sum.
        supervision_weights: Weight of the loss at each decoder scale, fine to coarse; zero builds no head.
    """

    def __init__(
        self,
        in_channels: PositiveInt,
        num_classes: PositiveInt,
        *,
        base_channels: PositiveFloat = 64,
        depth: Annotated[int, Interval(ge=1, le=7)] = 4,
        segmentation_levels: PositiveInt = 1,
        supervision_weights: Sequence[NonNegativeFloat] = (1.0,),
    ) -> None:
        super().__init__()
        self.depth = depth
        channels = level_widths(base_channels, depth)
        self.encoder = nn.ModuleList(
            ResidualBlock(channels[level - 1] if level > 0 else in_channels, channels[level])
            for level in range(depth + 1)
        )
        coarse_to_fine = range(depth - 1, -1, -1)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(channels[level + 1], channels[level], 2, stride=2) for level in coarse_to_fine
        )
        self.decoder = nn.ModuleList(ResidualBlock(2 * channels[level], channels[level]) for level in coarse_to_fine)
        self.heads = SegmentationHeads(
            channels[:-1], num_classes, supervision_weights, segmentation_levels=segmentation_levels
        )
        he_normal_(self, negative_slope=PRELU_SLOPE)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Segments ``image`` of shape ``(N, in_channels, H, W)``.

        Returns:
            Logits ``(N, num_classes, H, W)``; in training with deep supervision a list of logits, fine to
            coarse, that of scale i being ``ceil(H / 2**i)`` by ``ceil(W / 2**i)``.
        """
        height, width = image.shape[-2:]
        x = pad_to_stride(image, 2**self.depth)

        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = F.max_pool2d(x, 2) if level > 0 else x
            x = block(x)  # (N, C * 2**level, H / 2**level, W / 2**level)
            skips.append(x)
        skips.pop()  # the deepest level is the bottleneck, not a skip

        features: list[Tensor] = []
        for up, block in zip(self.ups, self.decoder, strict=True):
            x = block(torch.cat([skips.pop(), up(x)], dim=1))
            features.insert(0, x)
        prediction: Tensor | list[Tensor] = self.heads(features, (height, width))
        return prediction

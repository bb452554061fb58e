"""Dilated UNet: a UNet whose encoder looks at several distances at once, through convolutions with gaps.

``block="parallel"`` is the "DPB" (dilated parallel block) of https://github.com/mauOrtRuiz/UNET_modifications, the
best of that author's variants on BCSS with three branches at every level: mean accuracy of 15 regions 0.807 against
0.797 of his UNet of depth 3, which is not significant. ``block="drd"`` is after his later answer: Ortega-Ruiz,
Karabağ, Roman-Rangel, Reyes-Aldasoro, *DRD-UNet, a UNet-Like Architecture for Multi-Class Breast Cancer Semantic
Segmentation*, IEEE Access 12, 2024, https://doi.org/10.1109/ACCESS.2024.3377428

Both are reconstructions. The repository keeps its networks in MATLAB's binary files; the scripts and the README say
that the base is MATLAB's ``unetLayers`` of encoder depth 3 (64 channels, no normalisation), that the block has
three branches or five, that its rates are "D=1,2,3,5,7", and that it stands at the input or at every level. Of the
paper we could read the abstract: a block of dilated convolutions, residual connections and dense layers.

Our choices:
    - parallel: the branches are 3x3 convolutions as wide as the level. Their outputs are averaged, which leaves width
      and scale of the UNet as they are. The block stands for the first of a level's two convolutions.
    - drd: each dilated 3x3 convolution sees the input and the outputs of all before it (dense) and adds an equal
      share of the level's channels; a 1x1 convolution joins all and is added to the input (residual), which is
      brought to the level's width by another one. The block stands for both convolutions of a level.
    - "Every level" is every level of the encoder with the bottleneck; the decoder is that of a UNet.
    - ``norm`` adds a normalisation after each convolution of blocks and levels; the repository has none.
    - Any height and width is padded to a multiple of the stride and cropped back.
    - ``segmentation_levels`` and ``supervision_weights`` add predictions at coarser decoder scales.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from unet_exp.bounds import NonNegativeFloat, PositiveFloat, PositiveInt
from unet_exp.model._blocks import conv_norm_relu, double_conv
from unet_exp.model._init import he_normal_
from unet_exp.model._norm import Norm, normalization
from unet_exp.model._padding import pad_to_stride
from unet_exp.model._supervision import SegmentationHeads
from unet_exp.model._width import level_widths


class ParallelBlock(nn.Module):
    """The mean of 3x3 convolutions of different dilation, then a 3x3 convolution.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output and of each branch.
        dilations: Pixels from one weight of the kernel to the next, one per branch.
        norm: Normalisation after each convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, *, dilations: Sequence[int], norm: Norm) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            conv_norm_relu(in_channels, out_channels, norm=norm, dilation=dilation) for dilation in dilations
        )
        self.joined = conv_norm_relu(out_channels, out_channels, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(N, in_channels, H, W)`` to ``(N, out_channels, H, W)``."""
        features: Tensor = self.joined(torch.stack([branch(x) for branch in self.branches]).mean(0))
        return features


class DrdBlock(nn.Module):
    """Densely connected 3x3 convolutions of growing dilation, added to the input: dilation, residual, dense.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        dilations: Pixels from one weight of the kernel to the next, one per convolution.
        norm: Normalisation after each convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, *, dilations: Sequence[int], norm: Norm) -> None:
        super().__init__()
        growth = max(1, out_channels // len(dilations))
        self.projection = conv_norm_relu(in_channels, out_channels, norm=norm, kernel_size=1)
        self.dense = nn.ModuleList(
            conv_norm_relu(out_channels + position * growth, growth, norm=norm, dilation=dilation)
            for position, dilation in enumerate(dilations)
        )
        self.fusion = nn.Sequential(
            nn.Conv2d(out_channels + len(dilations) * growth, out_channels, 1, bias=norm == "none"),
            normalization(norm, out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(N, in_channels, H, W)`` to ``(N, out_channels, H, W)``."""
        projected = self.projection(x)
        features = projected
        for convolution in self.dense:
            features = torch.cat([features, convolution(features)], dim=1)
        return F.relu(projected + self.fusion(features))


class DilatedUNet(nn.Module):
    """UNet with parallel dilated blocks, or with dilated residual dense ones.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 for a binary mask.
        base_channels: Channels at full resolution, any positive number; every level down doubles them.
        depth: How often the resolution is halved.
        norm: Normalisation after each convolution.
        block: ``parallel`` or ``drd``.
        dilations: Dilation of each branch of a parallel block, or of each convolution of a drd block.
        where: Which levels of the encoder have the block: the first, or all.
        segmentation_levels: At how many of the finest decoder scales the logits are added up; 1 for no sum.
        supervision_weights: Weight of the loss at each decoder scale, fine to coarse; zero builds no head.
    """

    def __init__(
        self,
        in_channels: PositiveInt,
        num_classes: PositiveInt,
        *,
        base_channels: PositiveFloat = 64,
        depth: Annotated[int, Interval(ge=1, le=7)] = 3,
        norm: Norm = "none",
        block: Literal["parallel", "drd"] = "parallel",
        dilations: Sequence[PositiveInt] = (1, 2, 3),
        where: Literal["input", "all"] = "all",
        segmentation_levels: PositiveInt = 1,
        supervision_weights: Sequence[NonNegativeFloat] = (1.0,),
    ) -> None:
        super().__init__()
        if not dilations:
            raise ValueError("`dilations` is empty: give one per branch, such as [1, 2, 3].")
        self.depth = depth
        channels = level_widths(base_channels, depth)
        dilated_block = ParallelBlock if block == "parallel" else DrdBlock
        self.encoder = nn.ModuleList()
        for level, width in enumerate(channels):
            narrow = channels[level - 1] if level > 0 else in_channels
            if level == 0 or where == "all":
                self.encoder.append(dilated_block(narrow, width, dilations=dilations, norm=norm))
            else:
                self.encoder.append(double_conv(narrow, width, norm=norm))
        coarse_to_fine = range(depth - 1, -1, -1)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(channels[level + 1], channels[level], 2, stride=2) for level in coarse_to_fine
        )
        self.decoder = nn.ModuleList(
            double_conv(2 * channels[level], channels[level], norm=norm) for level in coarse_to_fine
        )
        self.heads = SegmentationHeads(
            channels[:-1], num_classes, supervision_weights, segmentation_levels=segmentation_levels
        )
        he_normal_(self)

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

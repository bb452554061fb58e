"""ResEnc UNet: nnU-Net's residual encoder, deep and strided, with a decoder of one convolution per level.

Paper: Isensee et al., *nnU-Net Revisited: A Call for Rigorous Validation in 3D Medical Image Segmentation*, MICCAI
2024, https://arxiv.org/abs/2404.09556. Code: ``ResidualEncoderUNet`` of
https://github.com/MIC-DKFZ/dynamic-network-architectures, which this follows layer by layer, as nnU-Net's plans for
two dimensions build it: 32 channels doubled up to 512, and 1, 3, 4, 6, 6, ... blocks. The blocks are those of
ResNet-D (He et al. 2019, https://arxiv.org/abs/1812.01187): where the resolution is halved, the shortcut averages
2x2 pixels before its 1x1 convolution.

Differs from the library:
    - nnU-Net's convolutions have a bias before their instance normalisation, which cancels it; ours have none.
    - The widest level is a multiple of the narrowest (``channel_cap``), so that another width keeps the shape.
    - nnU-Net chooses depth and patch size together from the data; here ``depth`` is given.
    - A depth below that of ``blocks_per_stage`` leaves out its last numbers.
    - Heads of deep supervision whose loss has no weight are not built.
    - Any height and width is padded to a multiple of the stride and cropped back.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor, nn

from unet_exp.bounds import NonNegativeFloat, PositiveFloat, PositiveInt
from unet_exp.model._init import he_normal_
from unet_exp.model._norm import Norm, normalization
from unet_exp.model._padding import pad_to_stride
from unet_exp.model._supervision import SegmentationHeads
from unet_exp.model._width import level_widths

NEGATIVE_SLOPE = 0.01  # of LeakyReLU, nnU-Net's


def conv_norm(
    in_channels: int, out_channels: int, *, norm: Norm, kernel_size: int = 3, stride: int = 1
) -> nn.Sequential:
    """A convolution and a normalisation."""
    border, bias = kernel_size // 2, norm == "none"
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=border, bias=bias),
        normalization(norm, out_channels),
    )


def conv_norm_activation(in_channels: int, out_channels: int, *, norm: Norm, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution, a normalisation and LeakyReLU."""
    return conv_norm(in_channels, out_channels, norm=norm, stride=stride).append(
        nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions added to the input, or to its projection where the shape changes.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: 1, or 2 to halve the resolution.
        norm: Normalisation after each convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, norm: Norm) -> None:
        super().__init__()
        self.first = conv_norm_activation(in_channels, out_channels, norm=norm, stride=stride)
        self.second = conv_norm(out_channels, out_channels, norm=norm)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.AvgPool2d(stride))
        if in_channels != out_channels:
            self.shortcut.append(conv_norm(in_channels, out_channels, norm=norm, kernel_size=1))
        self.activation = nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        activated: Tensor = self.activation(self.second(self.first(x)) + self.shortcut(x))
        return activated

    def start_as_shortcut(self) -> None:
        """Set the last scale to zero, so that a fresh block is its shortcut."""
        scale = getattr(self.second[1], "weight", None)
        if scale is not None:  # without normalisation there is none
            nn.init.zeros_(scale)


class DecoderLevel(nn.Module):
    """A 2x2 up-convolution, the skip connection, and 3x3 convolutions.

    Args:
        coarse_channels: Channels of the level below.
        channels: Channels of the skip connection and of the output.
        convolutions: How many.
        norm: Normalisation after each 3x3 convolution.
    """

    def __init__(self, coarse_channels: int, channels: int, *, convolutions: int, norm: Norm) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(coarse_channels, channels, 2, stride=2)
        self.convolutions = nn.Sequential(
            *(
                conv_norm_activation(2 * channels if i == 0 else channels, channels, norm=norm)
                for i in range(convolutions)
            )
        )

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """Maps ``(N, D, H / 2, W / 2)`` and ``(N, C, H, W)`` to ``(N, C, H, W)``."""
        features: Tensor = self.convolutions(torch.cat([self.up(coarse), skip], dim=1))
        return features


class ResEncUNet(nn.Module):
    """nnU-Net's UNet with a residual encoder (Isensee et al. 2024).

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 for a binary mask.
        base_channels: Channels at full resolution, any positive number; every level down doubles them.
        channel_cap: Most channels of a level, as a multiple of ``base_channels``.
        depth: How often the resolution is halved.
        blocks_per_stage: Residual blocks at each level of the encoder, fine to coarse; the last number also holds
            for all deeper ones.
        decoder_convolutions: Convolutions at each level of the decoder.
        norm: Normalisation after each convolution.
        segmentation_levels: At how many of the finest decoder scales the logits are added up; 1 for no sum.
        supervision_weights: Weight of the loss at each decoder scale, fine to coarse; zero builds no head.
    """

    def __init__(
        self,
        in_channels: PositiveInt,
        num_classes: PositiveInt,
        *,
        base_channels: PositiveFloat = 32,
        channel_cap: PositiveFloat = 16,
        depth: Annotated[int, Interval(ge=1, le=8)] = 6,
        blocks_per_stage: Sequence[PositiveInt] = (1, 3, 4, 6),
        decoder_convolutions: PositiveInt = 1,
        norm: Norm = "instance",
        segmentation_levels: PositiveInt = 1,
        supervision_weights: Sequence[NonNegativeFloat] = (1.0,),
    ) -> None:
        super().__init__()
        if not blocks_per_stage:
            raise ValueError("`blocks_per_stage` is empty: give a number for each level, such as [1, 3, 4, 6].")
        self.depth = depth
        channels = level_widths(base_channels, depth, cap=channel_cap)
        self.stem = conv_norm_activation(in_channels, channels[0], norm=norm)
        self.encoder = nn.ModuleList()
        for level, width in enumerate(channels):
            narrow = channels[max(level - 1, 0)]
            stage = nn.Sequential(ResidualBlock(narrow, width, stride=2 if level > 0 else 1, norm=norm))
            for _ in range(blocks_per_stage[min(level, len(blocks_per_stage) - 1)] - 1):
                stage.append(ResidualBlock(width, width, stride=1, norm=norm))
            self.encoder.append(stage)
        self.decoder = nn.ModuleList(
            DecoderLevel(channels[level + 1], channels[level], convolutions=decoder_convolutions, norm=norm)
            for level in range(depth - 1, -1, -1)
        )
        self.heads = SegmentationHeads(
            channels[:-1], num_classes, supervision_weights, segmentation_levels=segmentation_levels
        )
        he_normal_(self, negative_slope=NEGATIVE_SLOPE)
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                module.start_as_shortcut()

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Segments ``image`` of shape ``(N, in_channels, H, W)``.

        Returns:
            Logits ``(N, num_classes, H, W)``; in training with deep supervision a list of logits, fine to
            coarse, that of scale i being ``ceil(H / 2**i)`` by ``ceil(W / 2**i)``.
        """
        height, width = image.shape[-2:]
        x = self.stem(pad_to_stride(image, 2**self.depth))
        skips: list[Tensor] = []
        for stage in self.encoder:
            x = stage(x)  # (N, min(C * 2**level, C * cap), H / 2**level, W / 2**level)
            skips.append(x)
        skips.pop()  # the deepest level is the bottleneck, not a skip

        features: list[Tensor] = []
        for level in self.decoder:
            x = level(x, skips.pop())
            features.insert(0, x)
        prediction: Tensor | list[Tensor] = self.heads(features, (height, width))
        return prediction

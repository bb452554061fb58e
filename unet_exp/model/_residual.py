"""Parts of residual UNets: blocks that halve the resolution, encoder, lean decoder, parallel dilated convolutions."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from unet_exp.model._norm import Norm, normalization

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
        residual: Whether anything is added; without, it is a plain pair of convolutions.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, norm: Norm, residual: bool = True) -> None:
        super().__init__()
        self.first = conv_norm_activation(in_channels, out_channels, norm=norm, stride=stride)
        self.second = conv_norm(out_channels, out_channels, norm=norm)
        self.shortcut = nn.Sequential() if residual else None
        if self.shortcut is not None and stride > 1:
            self.shortcut.append(nn.AvgPool2d(stride))
        if self.shortcut is not None and in_channels != out_channels:
            self.shortcut.append(conv_norm(in_channels, out_channels, norm=norm, kernel_size=1))
        self.activation = nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        features: Tensor = self.second(self.first(x))
        if self.shortcut is not None:
            features = features + self.shortcut(x)
        activated: Tensor = self.activation(features)
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


class Encoder(nn.Module):
    """Levels of blocks, each but the first at half the resolution of the one before.

    Args:
        in_channels: Channels of the image.
        channels: Channels of each level, fine to coarse.
        blocks: Blocks of each level, fine to coarse; the last number also holds for all deeper ones.
        norm: See `ResidualBlock`.
        residual: See `ResidualBlock`.
    """

    def __init__(
        self, in_channels: int, channels: Sequence[int], blocks: Sequence[int], *, norm: Norm, residual: bool = True
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for level, (before, width) in enumerate(pairwise([in_channels, *channels])):
            stage = nn.Sequential(ResidualBlock(before, width, stride=2 if level else 1, norm=norm, residual=residual))
            for _ in range(blocks[min(level, len(blocks) - 1)] - 1):
                stage.append(ResidualBlock(width, width, stride=1, norm=norm, residual=residual))
            self.levels.append(stage)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Returns the output of every level i, fine to coarse: ``(N, channels[i], H / 2**i, W / 2**i)``."""
        outputs: list[Tensor] = []
        for level in self.levels:
            outputs.append(level(outputs[-1] if outputs else image))
        return outputs


class Decoder(nn.Module):
    """A `DecoderLevel` for every level but the coarsest.

    Args:
        channels: Channels of each level, fine to coarse; the last one is the input.
        convolutions: See `DecoderLevel`.
        norm: See `DecoderLevel`.
    """

    def __init__(self, channels: Sequence[int], *, norm: Norm, convolutions: int = 1) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            DecoderLevel(coarse, fine, convolutions=convolutions, norm=norm) for fine, coarse in pairwise(channels)
        )

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Maps the outputs of an encoder to features of the same shapes, fine to coarse, without the coarsest."""
        x = levels[-1]
        features: list[Tensor] = []
        for skip, level in zip(reversed(levels[:-1]), reversed(self.levels), strict=True):
            x = level(x, skip)
            features.insert(0, x)
        return features


class ParallelDilation(nn.Module):
    """Depthwise 3x3 convolutions of several dilations, fused by a 1x1 convolution and added to the input.

    Args:
        channels: Channels of input and output.
        dilations: One depthwise convolution each.
        norm: Normalisation after each convolution.
    """

    def __init__(self, channels: int, dilations: Sequence[int], *, norm: Norm) -> None:
        super().__init__()
        bias = norm == "none"
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels, bias=bias),
                normalization(norm, channels),
                nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
            )
            for dilation in dilations
        )
        self.fuse = conv_norm(len(dilations) * channels, channels, norm=norm, kernel_size=1)
        self.activation = nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape ``(N, channels, H, W)``."""
        wide = torch.cat([branch(x) for branch in self.branches], dim=1)
        activated: Tensor = self.activation(x + self.fuse(wide))
        return activated

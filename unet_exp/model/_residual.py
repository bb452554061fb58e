"""Parts of residual UNets: encoder blocks that halve the resolution, a lean decoder, parallel dilated convolutions.

The sources of each are in :mod:`unet_exp.model.ctx_resunet`.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from unet_exp.model._norm import Norm, normalization

NEGATIVE_SLOPE = 0.01  # of LeakyReLU, as in nnU-Net
UP_CHANNELS = 2  # an up-convolution gives as many channels as the skip connection that it meets


def conv_norm(
    in_channels: int, out_channels: int, norm: Norm, *, stride: int = 1, kernel_size: int = 3
) -> nn.Sequential:
    """A convolution that keeps (or by its stride halves) height and width, and a normalisation."""
    padding = kernel_size // 2
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=norm == "none")
    return nn.Sequential(conv, normalization(norm, out_channels))


class EncoderBlock(nn.Module):
    """Two 3x3 convolutions, added to a shortcut of the input if it is residual.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        norm: Normalisation after each convolution.
        stride: Of the first convolution.
        residual: Whether there is a shortcut.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: Norm, *, stride: int, residual: bool) -> None:
        super().__init__()
        self.first = conv_norm(in_channels, out_channels, norm, stride=stride)
        self.second = conv_norm(out_channels, out_channels, norm)
        self.activation = nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)
        self.shortcut: nn.Module | None = None
        if residual:
            pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
            same = in_channels == out_channels
            project = nn.Identity() if same else conv_norm(in_channels, out_channels, norm, kernel_size=1)
            self.shortcut = nn.Sequential(pool, project)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        features: Tensor = self.second(self.activation(self.first(x)))
        if self.shortcut is not None:
            features = features + self.shortcut(x)
        activated: Tensor = self.activation(features)
        return activated


class Encoder(nn.Module):
    """Levels of blocks, each but the first at half the resolution of the one before.

    Args:
        in_channels: Channels of the image.
        channels: Channels of each level, fine to coarse.
        blocks: Blocks of each level.
        norm: See `EncoderBlock`.
        residual: See `EncoderBlock`.
    """

    def __init__(
        self, in_channels: int, channels: Sequence[int], blocks: Sequence[int], norm: Norm, *, residual: bool
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for level, (before, width) in enumerate(pairwise([in_channels, *channels])):
            first = EncoderBlock(before, width, norm, stride=2 if level else 1, residual=residual)
            others = [EncoderBlock(width, width, norm, stride=1, residual=residual) for _ in range(blocks[level] - 1)]
            self.levels.append(nn.Sequential(first, *others))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Returns the output of every level i, fine to coarse: ``(N, channels[i], H / 2**i, W / 2**i)``."""
        outputs: list[Tensor] = []
        for level in self.levels:
            outputs.append(level(outputs[-1] if outputs else image))
        return outputs


class Decoder(nn.Module):
    """Per level an up-convolution, the skip connection, and one 3x3 convolution.

    Args:
        channels: Channels of each level, fine to coarse; the last one is the input.
        norm: Normalisation after the 3x3 convolution.
    """

    def __init__(self, channels: Sequence[int], norm: Norm) -> None:
        super().__init__()
        self.ups = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in pairwise(channels))
        self.convs = nn.ModuleList(
            nn.Sequential(conv_norm(UP_CHANNELS * width, width, norm), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True))
            for width in channels[:-1]
        )

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Maps the outputs of an encoder to features of the same shapes, fine to coarse, without the coarsest."""
        x = levels[-1]
        features: list[Tensor] = []
        for level in reversed(range(len(self.ups))):
            x = self.convs[level](torch.cat([levels[level], self.ups[level](x)], dim=1))
            features.insert(0, x)
        return features


class ParallelDilation(nn.Module):
    """Depthwise 3x3 convolutions of several dilations, fused by a 1x1 convolution and added to the input.

    Args:
        channels: Channels of input and output.
        dilations: One depthwise convolution each.
        norm: Normalisation after each convolution.
    """

    def __init__(self, channels: int, dilations: Sequence[int], norm: Norm) -> None:
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
        self.fuse = conv_norm(len(dilations) * channels, channels, norm, kernel_size=1)
        self.activation = nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape ``(N, channels, H, W)``."""
        wide = torch.cat([branch(x) for branch in self.branches], dim=1)
        activated: Tensor = self.activation(x + self.fuse(wide))
        return activated

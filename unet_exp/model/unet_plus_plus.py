"""UNet++: a UNet whose skip connections are filled with further nodes, so that it holds UNets of every depth.

Papers: Zhou et al., *UNet++: A Nested U-Net Architecture for Medical Image Segmentation*, DLMIA 2018,
https://arxiv.org/abs/1807.10165; *UNet++: Redesigning Skip Connections to Exploit Multiscale Features in Image
Segmentation*, IEEE TMI 2020, https://arxiv.org/abs/1912.05074

Node X(i, j) lies at 1/2^i of the resolution in column j. Column 0 is the encoder. Every other node convolves the
concatenation of all nodes left of it at its own resolution and of the upsampled X(i + 1, j - 1). X(0, 1), ...,
X(0, depth) have full resolution; each is the output of a UNet of that depth.

Deep supervision comes in two kinds, which combine:
    - ``ensemble``, the paper's: all of X(0, 1), ..., X(0, depth) have a head and the prediction is the average of
      their logits, in training as well ("accurate mode").
    - ``supervision_weights``, as in every network here: heads at coarser scales, on the last node of each row, with
      losses of their own. They do not enter the average; the loss at full resolution, whose weight is the first
      one, is that of the prediction.

Differs from the papers:
    - With ``ensemble`` the paper has a loss for the output of every head and averages probabilities; we have one
      loss, of the averaged logits.
    - ``norm`` adds a normalisation after each 3x3 convolution; the authors' release has none, but dropout.
    - Networks are not pruned after training ("fast mode"); train with a smaller ``depth`` instead.
    - Any height and width is padded to a multiple of the stride and cropped back.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from unet_exp.bounds import NonNegativeFloat, PositiveFloat, PositiveInt
from unet_exp.model._blocks import double_conv
from unet_exp.model._init import he_normal_
from unet_exp.model._norm import Norm
from unet_exp.model._padding import crop_to_scale, pad_to_stride
from unet_exp.model._supervision import SegmentationHeads
from unet_exp.model._width import level_widths


class NestedNode(nn.Module):
    """X(i, j) with j > 0: two 3x3 convolutions of all there is at its resolution.

    Args:
        channels: Channels of its row.
        coarse_channels: Channels of the row below.
        column: j, which is also the number of nodes left of it.
        norm: Normalisation after each convolution.
    """

    def __init__(self, channels: int, coarse_channels: int, column: int, *, norm: Norm) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(coarse_channels, channels, 2, stride=2)
        self.convolutions = double_conv((column + 1) * channels, channels, norm=norm)

    def forward(self, coarse: Tensor, *row: Tensor) -> Tensor:
        """Returns ``(N, C, H, W)``.

        Args:
            coarse: X(i + 1, j - 1), ``(N, D, H / 2, W / 2)``.
            row: X(i, 0), ..., X(i, j - 1), each ``(N, C, H, W)``.
        """
        features: Tensor = self.convolutions(torch.cat([*row, self.up(coarse)], dim=1))
        return features


class UNetPlusPlus(nn.Module):
    """UNet++ (Zhou et al. 2018).

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 for a binary mask.
        base_channels: Channels at full resolution, any positive number; every level down doubles them.
        depth: How often the resolution is halved.
        norm: Normalisation after each 3x3 convolution.
        ensemble: Average the logits of all nodes of full resolution, rather than take those of the last one.
        supervision_weights: Weight of the loss at each decoder scale, fine to coarse; zero builds no head.
    """

    def __init__(
        self,
        in_channels: PositiveInt,
        num_classes: PositiveInt,
        *,
        base_channels: PositiveFloat = 32,
        depth: Annotated[int, Interval(ge=1, le=7)] = 4,
        norm: Norm = "batch",
        ensemble: bool = True,
        supervision_weights: Sequence[NonNegativeFloat] = (1.0,),
    ) -> None:
        super().__init__()
        self.depth = depth
        channels = level_widths(base_channels, depth)
        self.encoder = nn.ModuleList(
            double_conv(channels[level - 1] if level > 0 else in_channels, channels[level], norm=norm)
            for level in range(depth + 1)
        )
        self.columns = nn.ModuleList(
            nn.ModuleList(
                NestedNode(channels[level], channels[level + 1], column, norm=norm)
                for level in range(depth + 1 - column)
            )
            for column in range(1, depth + 1)
        )
        self.heads = SegmentationHeads(channels[:-1], num_classes, supervision_weights)
        self.ensemble_heads = nn.ModuleList(
            nn.Conv2d(channels[0], num_classes, 1) for _ in range(depth - 1 if ensemble else 0)
        )
        he_normal_(self)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Segments ``image`` of shape ``(N, in_channels, H, W)``.

        Returns:
            Logits ``(N, num_classes, H, W)``; in training with deep supervision a list of logits, fine to
            coarse, that of scale i being ``ceil(H / 2**i)`` by ``ceil(W / 2**i)``.
        """
        size = (image.shape[-2], image.shape[-1])
        rows = self._nodes(pad_to_stride(image, 2**self.depth))
        prediction: Tensor | list[Tensor] = self.heads([row[-1] for row in rows], size)
        if len(self.ensemble_heads) == 0:
            return prediction
        early = [
            crop_to_scale(head(node), size, 0) for head, node in zip(self.ensemble_heads, rows[0][1:-1], strict=True)
        ]
        if isinstance(prediction, Tensor):
            return _mean([*early, prediction])
        return [_mean([*early, prediction[0]]), *prediction[1:]]

    def _nodes(self, image: Tensor) -> list[list[Tensor]]:
        """X(i, j) as entry j of row i, but for the deepest row, which is the bottleneck alone."""
        rows: list[list[Tensor]] = []
        x = image
        for level, block in enumerate(self.encoder):
            x = F.max_pool2d(x, 2) if level > 0 else x
            x = block(x)  # (N, C * 2**level, H / 2**level, W / 2**level)
            rows.append([x])
        for column, nodes in enumerate(self.columns):
            assert isinstance(nodes, nn.ModuleList)
            for level, node in enumerate(nodes):
                rows[level].append(node(rows[level + 1][column], *rows[level]))
        return rows[:-1]


def _mean(logits: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(logits)).mean(0)

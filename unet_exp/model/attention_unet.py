"""Attention U-Net: a UNet that weights every position of a skip connection before it is used.

Paper: Oktay et al., *Attention U-Net: Learning Where to Look for the Pancreas*, MIDL 2018,
https://arxiv.org/abs/1804.03999

A gate sees a skip connection and the coarser features that are about to be upsampled. It computes one number
between 0 and 1 per position of the coarser grid, alpha = sigmoid(psi(ReLU(W_x skip + W_g coarse))), and the
skip is multiplied by it. Where the paper is silent, the gates follow the authors' release
(https://github.com/ozan-oktay/Attention-Gated-Networks, ``grid_attention_layer.py``): W_x is a 2x2 convolution of
stride 2 without bias, all of them have as many channels as the skip, and alpha is interpolated linearly.

Differs from the paper:
    - Two dimensions, not three. The rest of the network is a UNet with 2x2 up-convolutions and 64 channels at full
      resolution; the release has a quarter of them.
    - The release also has 1x1 convolutions with batch normalisation after the gates and before the first gating
      signal; the paper's equations have none, nor have we.
    - The finest skip connection has no gate, as in the paper; ``gate_finest`` gives it one.
    - ``supervision_weights`` adds losses at coarser decoder scales. The release joins the logits of all scales by
      a 1x1 convolution; ``segmentation_levels`` adds them up.
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
from unet_exp.model._padding import pad_to_stride
from unet_exp.model._supervision import SegmentationHeads
from unet_exp.model._width import level_widths


class AttentionGate(nn.Module):
    """Weights the positions of a skip connection by additive attention (paper, equations 1 and 2).

    Args:
        skip_channels: Channels of the skip connection.
        coarse_channels: Channels of the features one level below it.
    """

    def __init__(self, skip_channels: int, coarse_channels: int) -> None:
        super().__init__()
        self.skip = nn.Conv2d(skip_channels, skip_channels, 2, stride=2, bias=False)  # W_x
        self.coarse = nn.Conv2d(coarse_channels, skip_channels, 1)  # W_g
        self.score = nn.Conv2d(skip_channels, 1, 1)  # psi

    def coefficients(self, skip: Tensor, coarse: Tensor) -> Tensor:
        """Alpha ``(N, 1, H, W)`` of a skip connection ``(N, C, H, W)`` and features ``(N, D, H / 2, W / 2)``."""
        alpha = torch.sigmoid(self.score(F.relu(self.skip(skip) + self.coarse(coarse))))
        return F.interpolate(alpha, scale_factor=2.0, mode="bilinear", align_corners=False)

    def forward(self, skip: Tensor, coarse: Tensor) -> Tensor:
        """Returns the weighted skip connection ``(N, C, H, W)``."""
        return skip * self.coefficients(skip, coarse)


class AttentionUNet(nn.Module):
    """Attention U-Net (Oktay et al. 2018).

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 for a binary mask.
        base_channels: Channels at full resolution, any positive number; every level down doubles them.
        depth: How often the resolution is halved.
        norm: Normalisation after each 3x3 convolution.
        gate_finest: Whether the skip connection at full resolution has a gate too.
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
        norm: Norm = "batch",
        gate_finest: bool = False,
        segmentation_levels: PositiveInt = 1,
        supervision_weights: Sequence[NonNegativeFloat] = (1.0,),
    ) -> None:
        super().__init__()
        self.depth = depth
        channels = level_widths(base_channels, depth)
        self.encoder = nn.ModuleList(
            double_conv(channels[level - 1] if level > 0 else in_channels, channels[level], norm=norm)
            for level in range(depth + 1)
        )
        coarse_to_fine = range(depth - 1, -1, -1)
        self.gates = nn.ModuleList(
            AttentionGate(channels[level], channels[level + 1]) for level in coarse_to_fine if level > 0 or gate_finest
        )
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
        for step, (up, block) in enumerate(zip(self.ups, self.decoder, strict=True)):
            skip = skips.pop()
            if step < len(self.gates):
                skip = self.gates[step](skip, x)
            x = block(torch.cat([skip, up(x)], dim=1))
            features.insert(0, x)
        prediction: Tensor | list[Tensor] = self.heads(features, (height, width))
        return prediction

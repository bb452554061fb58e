"""UNet: an encoder and a decoder of the same shape, joined by skip connections at every resolution.

Paper: Ronneberger, Fischer, Brox, *U-Net: Convolutional Networks for Biomedical Image Segmentation*, MICCAI
2015, https://arxiv.org/abs/1505.04597

The defaults of :class:`UNet` are the paper. Where the paper is silent they follow the authors' release
(u-net-release-2015-10-02).

Differs from the paper:
    - ``padding="same"`` (zeros) keeps the size of the image; any height and width is padded to a multiple of
      the stride and cropped back. The paper's ``"valid"`` gives a smaller output: 572 in, 388 out.
    - ``norm`` adds a normalisation after each 3x3 convolution, which then has no bias; the paper has none.
    - ``upsampling="bilinear"`` replaces the 2x2 up-convolution by a 1x1 convolution and interpolation.
    - ``supervision_weights`` adds losses at coarser decoder scales.
    - ``segmentation_levels`` adds up the logits of several decoder scales; the paper has one.
    - The initial weights of an up-convolution count the inputs that reach one output, as the paper's formula
      says; the release counts its outputs.
    - The released network ``phseg_v5`` is not quite the paper's: ``caffe_release=True`` has its ReLU after
      every up-convolution, the last of which does not halve the channels. (It also concatenates in the other
      order, which only renumbers weights.)
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from unet_exp.bounds import NonNegativeFloat, PositiveFloat, PositiveInt, Probability
from unet_exp.model._init import he_normal_
from unet_exp.model._norm import Norm, normalization
from unet_exp.model._padding import center_crop, pad_to_stride
from unet_exp.model._supervision import SegmentationHeads
from unet_exp.model._width import level_widths

MIN_BOTTLENECK = 8  # smallest k of a legal valid-padding size: below it the output would be empty


class DoubleConv(nn.Sequential):
    """Twice a 3x3 convolution, normalisation and ReLU; then dropout, where the level has it.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of both convolutions.
        padding: Zeros added on each side before a convolution: 1 keeps the size, 0 loses 4 pixels in all.
        norm: Normalisation after each convolution.
        dropout: Probability that an activation of the output is dropped.
    """

    def __init__(self, in_channels: int, out_channels: int, *, padding: int, norm: Norm, dropout: float = 0.0) -> None:
        bias = norm == "none"  # a normalisation has its own shift
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=padding, bias=bias),
            normalization(norm, out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=padding, bias=bias),
            normalization(norm, out_channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        )


def up_conv(in_channels: int, out_channels: int, upsampling: Literal["transposed", "bilinear"]) -> nn.Module:
    """Doubles height and width and changes the channels: the paper's up-convolution, or bilinear."""
    if upsampling == "transposed":
        return nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
    # Interpolation and a 1x1 convolution commute; in this order the convolution costs a quarter.
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    )


class UNet(nn.Module):
    """UNet (Ronneberger et al. 2015); the defaults are the paper.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 for a binary mask.
        base_channels: Channels at full resolution; every level down doubles them. Not whole: each level is rounded.
        depth: How often the resolution is halved.
        padding: ``valid`` (the paper) takes sides of ``2**depth * (k + 4) - 4`` pixels with k >= 8, which for
            depth 4 is 16k + 60, and returns 184 pixels less; ``same`` takes and returns any size.
        norm: Normalisation after each 3x3 convolution.
        upsampling: ``transposed`` (the paper) or ``bilinear``.
        dropout: Dropout at the end of the two deepest encoder levels; the skip connection carries the
            dropped activations, as in the release.
        caffe_release: Builds the decoder of the released network instead of the paper's.
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
        padding: Literal["valid", "same"] = "valid",
        norm: Norm = "none",
        upsampling: Literal["transposed", "bilinear"] = "transposed",
        dropout: Probability = 0.5,
        caffe_release: bool = False,
        segmentation_levels: PositiveInt = 1,
        supervision_weights: Sequence[NonNegativeFloat] = (1.0,),
    ) -> None:
        super().__init__()
        self.depth = depth
        self.padding = padding
        border = 0 if padding == "valid" else 1
        channels = level_widths(base_channels, depth)

        self.encoder = nn.ModuleList(
            DoubleConv(
                channels[level - 1] if level > 0 else in_channels,
                channels[level],
                padding=border,
                norm=norm,
                dropout=dropout if level >= depth - 1 else 0.0,
            )
            for level in range(depth + 1)
        )
        self.ups = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for level in reversed(range(depth)):  # coarse to fine, as the forward pass meets them
            up_channels = channels[1] if caffe_release and level == 0 else channels[level]
            up = up_conv(channels[level + 1], up_channels, upsampling)
            self.ups.append(nn.Sequential(up, nn.ReLU(inplace=True)) if caffe_release else up)
            self.decoder.append(DoubleConv(channels[level] + up_channels, channels[level], padding=border, norm=norm))
        self.heads = SegmentationHeads(
            channels[:-1], num_classes, supervision_weights, segmentation_levels=segmentation_levels
        )
        he_normal_(self)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Segments ``image`` of shape ``(N, in_channels, H, W)``.

        Returns:
            Logits ``(N, num_classes, H, W)``; in training with deep supervision a list of logits, fine to
            coarse, that of scale i being ``ceil(H / 2**i)`` by ``ceil(W / 2**i)``. With valid padding the
            logits cover the centre of the image.

        Raises:
            ValueError: Valid padding does not fit the size of the image; the message has the legal sizes.
        """
        height, width = image.shape[-2:]
        if self.padding == "valid":
            self._check_valid_size(height, width)
            x = image
        else:
            x = pad_to_stride(image, 2**self.depth)

        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = F.max_pool2d(x, 2) if level > 0 else x
            x = block(x)  # (N, C * 2**level, H / 2**level, W / 2**level)
            skips.append(x)
        skips.pop()  # the deepest level is the bottleneck, not a skip

        features: list[Tensor] = []
        for up, block in zip(self.ups, self.decoder, strict=True):
            x = up(x)
            skip = center_crop(skips.pop(), (x.shape[-2], x.shape[-1]))
            x = block(torch.cat([skip, x], dim=1))
            features.insert(0, x)
        prediction: Tensor | list[Tensor]
        prediction = self.heads(features, None if self.padding == "valid" else (height, width))
        return prediction

    def _check_valid_size(self, height: int, width: int) -> None:
        """Every halving must meet an even size, and the output must not be empty (paper, section 2)."""
        stride = 2**self.depth
        offset = 4 * (stride - 1)  # what the unpadded encoder convolutions above the bottleneck lose
        smallest = MIN_BOTTLENECK * stride + offset
        for name, side in (("height", height), ("width", width)):
            if side < smallest or (side - offset) % stride != 0:
                below = max((side - offset) // stride, MIN_BOTTLENECK) * stride + offset
                raise ValueError(
                    f"`padding='valid'` with `depth={self.depth}` takes sides of {stride}k + {offset} pixels "
                    f"with k >= {MIN_BOTTLENECK}, but got {name} {side}: resize or crop to {below} or "
                    f"{below + stride} pixels, or use `padding='same'`."
                )

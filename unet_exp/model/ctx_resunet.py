"""CtxResUNet: a lean residual UNet that also sees the surroundings of its image at a coarser resolution.

Our own combination of published parts, each of which can be switched off, so that a study can tell what it brings:

- *Residual encoder* (`residual`): levels of residual blocks whose first convolution halves the resolution, channels
  capped at `width_cap` times those of full resolution, and a decoder of one convolution per level, as in nnU-Net's
  residual presets (Isensee et al. 2024, https://arxiv.org/abs/2404.09556). The shortcut averages before its 1x1
  convolution (He et al. 2019, https://arxiv.org/abs/1812.01187).
- *Parallel dilation* (`dilations`): at the bottleneck, depthwise 3x3 convolutions of several dilations side by side,
  fused by a 1x1 convolution and added to their input; after ASPP (Chen et al. 2017, https://arxiv.org/abs/1706.05587)
  and the parallel blocks of https://github.com/mauOrtRuiz/UNET_modifications.
- *Deep supervision* (`supervision_weights`): a loss at every decoder scale (nnU-Net).
- *Context* (`context_factor`): a light encoder-decoder sees the concentric surroundings, so many times coarser. Its
  features are cropped to the image and joined at the bottleneck, where both branches have the same pixels; that is
  HookNet's rule of alignment (van Rijthoven et al. 2021, https://arxiv.org/abs/2006.12230). `context_weight` gives the
  branch a segmentation loss of its own (Schmitz et al. 2021, https://arxiv.org/abs/1909.10726).

In training the surroundings come with the image, as a second input. Where they are not given, the network makes them
from the image itself: it averages blocks of pixels and mirrors `context_margin` pixels beyond the border, just as
patches at the border of an image are served in training. Whole images, windows of slides and exported networks thus
need one input only, and a window needs `context_margin` pixels around the part of it that is kept.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from unet_exp.bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from unet_exp.model._init import he_normal_
from unet_exp.model._norm import Norm
from unet_exp.model._padding import crop_to_scale, pad_mirrored, pad_to_stride
from unet_exp.model._residual import NEGATIVE_SLOPE, Decoder, Encoder, ParallelDilation, conv_norm
from unet_exp.model._supervision import SegmentationHeads
from unet_exp.model._width import level_widths


class ContextBranch(nn.Module):
    """Features of the surroundings at the resolution of the main branch's bottleneck.

    Args:
        in_channels: Channels of the image.
        channels: Channels of each level, fine to coarse.
        norm: Normalisation after each convolution.
        residual: Whether its blocks have shortcuts.
        level: Down to which level the decoder goes: that of the bottleneck.
        num_classes: Channels of its own logits; None for no head.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        norm: Norm,
        *,
        residual: bool,
        level: int,
        num_classes: int | None,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(in_channels, channels, [1], norm=norm, residual=residual)
        self.decoder = Decoder(channels[level:], norm=norm)
        self.head = None if num_classes is None else nn.Conv2d(channels[level], num_classes, 1)
        self.level = level

    def forward(self, context: Tensor) -> Tensor:
        """Maps ``(N, C, H, W)`` to ``(N, channels[level], H / 2**level, W / 2**level)``."""
        levels = self.encoder(context)[self.level :]
        decoded = self.decoder(levels)
        features: Tensor = decoded[0] if decoded else levels[0]
        return features


class CtxResUNet(nn.Module):
    """A residual UNet with a coarser view of the surroundings.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 for a binary mask.
        base_channels: Channels at full resolution; every level down doubles them, up to the cap.
        depth: How often the resolution is halved.
        width_cap: Most channels of a level, as a multiple of `base_channels`.
        blocks: Encoder blocks per level, fine to coarse; the last number also holds for all deeper ones.
        norm: Normalisation after each convolution.
        residual: Shortcuts around the encoder's blocks.
        dilations: Of the parallel convolutions at the bottleneck; empty for none.
        dropout: Probability that a channel of the bottleneck is dropped.
        context_factor: How many times coarser the surroundings are, a power of two up to 2**depth; 0 for no context.
        context_margin: Pixels around the image that the network makes up by mirroring where no context is given.
        context_width: Channels of the context branch, as a multiple of `base_channels`.
        context_dropout: Probability that an image is trained on without its surroundings, lest the network learns them
            by heart where there are few images.
        context_placebo: Feed the surroundings of something else, at the same cost: a control for studies.
        context_weight: Weight of the context branch's own loss; zero builds no head for it.
        supervision_weights: Weight of the loss at each decoder scale, fine to coarse; zero builds no head.

    Raises:
        ValueError: If `blocks` is empty, or context and depth do not fit.
    """

    def __init__(
        self,
        in_channels: PositiveInt,
        num_classes: PositiveInt,
        *,
        base_channels: PositiveFloat = 22,
        depth: Annotated[int, Interval(ge=1, le=7)] = 4,
        width_cap: PositiveFloat = 8,
        blocks: Sequence[PositiveInt] = (1, 1, 1, 2, 1),
        norm: Norm = "batch",
        residual: bool = True,
        dilations: Sequence[PositiveInt] = (1, 2, 4),
        dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
        context_factor: NonNegativeInt = 4,
        context_margin: NonNegativeInt = 0,
        context_width: PositiveFloat = 0.45,
        context_dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
        context_placebo: bool = False,
        context_weight: NonNegativeFloat = 0.0,
        supervision_weights: Sequence[NonNegativeFloat] = (1.0,),
    ) -> None:
        super().__init__()
        if not blocks:
            raise ValueError("`blocks` is empty: give a number for each level, such as [1, 1, 1, 2, 1].")
        if context_factor:
            _check_context(context_factor, context_margin, depth)
        self.depth = depth
        self.context_factor = context_factor
        self.context_margin = context_margin
        self._placebo = context_placebo
        channels = level_widths(base_channels, depth, cap=width_cap)
        self.encoder = Encoder(in_channels, channels, blocks, norm=norm, residual=residual)
        self.dilation = ParallelDilation(channels[-1], dilations, norm=norm) if dilations else nn.Identity()
        self.dropout = nn.Dropout2d(dropout)
        self.context: ContextBranch | None = None
        if context_factor:
            level = depth - _halvings(context_factor)
            context_channels = level_widths(context_width * base_channels, depth, cap=width_cap)
            self.context = ContextBranch(
                in_channels,
                context_channels,
                norm,
                residual=residual,
                level=level,
                num_classes=num_classes if context_weight else None,
            )
            joined = channels[-1] + context_channels[level]
            self.context_dropout = nn.Dropout(context_dropout)
            self.fuse = nn.Sequential(
                conv_norm(joined, channels[-1], norm=norm, kernel_size=1), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)
            )
        self.decoder = Decoder(channels, norm=norm)
        self.heads = SegmentationHeads(channels[:-1], num_classes, supervision_weights)
        he_normal_(self, negative_slope=NEGATIVE_SLOPE)

    def forward(self, image: Tensor, context: Tensor | None = None) -> Tensor | list[Tensor]:
        """Segments ``image`` of shape ``(N, in_channels, H, W)``.

        Args:
            image: The image.
            context: Its surroundings ``(N, in_channels, h, w)``, concentric and `context_factor` times coarser; made
                from the image if None.

        Returns:
            Logits ``(N, num_classes, H, W)``; in training with deep supervision a list of logits, fine to
            coarse, that of scale i being ``ceil(H / 2**i)`` by ``ceil(W / 2**i)``. With `context_weight` its last
            entry are, in training, the logits of the surroundings at ``1 / 2**depth`` of the image's resolution.
        """
        size = (image.shape[-2], image.shape[-1])
        x = pad_to_stride(image, 2**self.depth)
        levels = self.encoder(x)
        bottleneck = self.dropout(self.dilation(levels[-1]))
        context_logits: Tensor | None = None
        if self.context is not None:
            if context is None:
                context = pad_mirrored(F.avg_pool2d(x, self.context_factor), self.context_margin // self.context_factor)
            around = self._context_features(context)
            if self.context.head is not None and self.training:
                context_logits = self._put_back(self.context.head(around))
            seen = self._within(around, context, x)
            if self.training:
                seen = seen * self.context_dropout(seen.new_ones(len(seen), 1, 1, 1))
            bottleneck = self.fuse(torch.cat([bottleneck, seen], dim=1))
        outputs: Tensor | list[Tensor] = self.heads(self.decoder([*levels[:-1], bottleneck]), size)
        if context_logits is None:
            return outputs
        return [*(outputs if isinstance(outputs, list) else [outputs]), context_logits]

    def _context_features(self, context: Tensor) -> Tensor:
        assert self.context is not None
        features: Tensor = self.context(pad_to_stride(self._exchanged(context), 2**self.depth))
        return crop_to_scale(features, (context.shape[-2], context.shape[-1]), self.context.level)

    def _within(self, features: Tensor, context: Tensor, image: Tensor) -> Tensor:
        """The part of the context's features that lies where the image is."""
        stride = 2**self.depth
        rows, columns = (side // stride for side in image.shape[-2:])
        top, left = (
            (self.context_factor * around - inside) // (2 * stride)
            for around, inside in zip(context.shape[-2:], image.shape[-2:], strict=True)
        )
        return features[..., top : top + rows, left : left + columns]

    def _exchanged(self, context: Tensor) -> Tensor:
        """For the placebo: the surroundings of the next image of the batch, or of elsewhere in the same image."""
        if not self._placebo:
            return context
        if self.training and len(context) > 1:
            return context.roll(1, 0)
        return context.roll((context.shape[-2] // 2, context.shape[-1] // 2), (-2, -1))

    def _put_back(self, logits: Tensor) -> Tensor:
        """The logits of each image's own surroundings."""
        return logits.roll(-1, 0) if self._placebo and len(logits) > 1 else logits


def _check_context(factor: int, margin: int, depth: int) -> None:
    if factor & (factor - 1) or not 2 <= factor <= 2**depth:
        raise ValueError(
            f"`context_factor` must be 0, or a power of two from 2 to {2**depth} at depth {depth}, but got {factor}."
        )
    if margin % 2**depth:
        raise ValueError(
            f"`context_margin` must be a multiple of {2**depth} at depth {depth}, so that both branches are aligned, "
            f"but got {margin}: choose a larger data.patch_size, a multiple of {2 ** (depth + 1)}."
        )


def _halvings(factor: int) -> int:
    return factor.bit_length() - 1

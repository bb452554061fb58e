"""Improved UNet: context modules on the way down, localization modules and summed segmentations up again.

Paper: Isensee, Kickingereder, Wick, Bendszus, Maier-Hein, *Brain Tumor Segmentation and Radiomics Survival
Prediction: Contribution to the BRATS 2017 Challenge*, BrainLes 2017 (LNCS 10670),
https://arxiv.org/abs/1802.10508. Authors' code: https://github.com/MIC-DKFZ/BraTS2017

The defaults of :class:`ImprovedUNet`, and ``model=improved_unet_isensee``, are the paper in two dimensions.
``model=improved_unet`` is a simplified version of it for skin lesions, from a report in
https://github.com/shakes76/PatternFlow; where its text and its code disagree, the list says so.

Differs from the paper ("simplified" is that version):
    - D1  Two dimensions, any number of channels and classes.
    - D2  ``residual_sum`` adds the input of a context module to its output. The simplified text leaves that
      out, its code has it, and there is no residual path without: True in both.
    - D3  ``norm``: instance (paper), none (simplified). As we read the authors' code, its instance norm has a
      scale and shift per position in the batch too; ours has one per channel.
    - D4  ``pre_activation``: normalise and activate before the convolutions of a context module (paper), or
      after each convolution (simplified). ``negative_slope`` 0.01 is in the code alone.
    - D5  ``base_channels`` 16 and ``depth`` 4, which makes five levels, are in the code alone.
    - D6  Upsampling by nearest neighbour in both, again from the code.
    - D7  ``localization_halves``: the 1x1 convolution of a localization module halves the channels (paper),
      or the 3x3 before it (simplified). The segmentation layer reads the 3x3 (paper), or the end of the
      module (simplified).
    - D8  ``bridge_convolution``: a 1x1 convolution after the first upsampling, in the authors' code alone.
    - D9  At full resolution one 3x3 convolution replaces the localization module, in both.
    - D10 ``segmentation_levels`` 3: both add the outputs of the segmentation layers. The simplified text adds
      those of the localization modules, which have different numbers of channels and cannot be added.
    - D11 ``segmentation_kernel``: a linear 1x1 convolution (paper), or a 3x3 (simplified).
      ``segmentation_activation``: its code has LeakyReLU there. Off in both presets, because the sum is then
      hardly ever negative, and training on small binary objects often begins with a long stretch of "all
      background".
    - D12 ``output_convolution``: a 1x1 convolution after the sum, simplified alone. It starts as the
      identity, not with a random sign, unless there is an activation before it. Both presets return logits.
    - D13 (loss, optimiser) and D14 (augmentation, ensemble) are matters of training, not of the network.
      Dropout is off in evaluation, where the authors leave it on; for that, set the ``nn.Dropout`` modules
      alone to training.
    - D15 A convolution of stride 1 comes before the first context module in both, unmentioned by the
      simplified text.
    - As in the authors' code, convolutions keep their bias before a normalisation, and with
      ``pre_activation`` the first level normalises neither inside its context module nor on its skip.
    - Any height and width is padded to a multiple of the stride and cropped back.
    - ``supervision_weights`` adds losses on the partial sums of the segmentations at coarser scales.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, Literal

import torch
from annotated_types import Interval
from torch import Tensor, nn

from unet_exp.bounds import NonNegativeFloat, PositiveFloat, PositiveInt, Probability
from unet_exp.model._init import he_normal_
from unet_exp.model._norm import Norm, normalization
from unet_exp.model._padding import pad_to_stride
from unet_exp.model._supervision import SegmentationHeads
from unet_exp.model._width import level_widths

ActivationBuilder = Callable[[int], nn.Module]  # channels -> normalisation and LeakyReLU


def norm_activation(channels: int, *, norm: Norm, negative_slope: float) -> nn.Module:
    """Normalisation and LeakyReLU."""
    return nn.Sequential(normalization(norm, channels), nn.LeakyReLU(negative_slope))


class ContextModule(nn.Module):
    """Two 3x3 convolutions with dropout between them, added to the input (paper, section 2.2).

    With the last convolution at zero the module is the identity.

    Args:
        channels: Channels of input and output.
        activation: Builds what is put before (or after) each convolution.
        pre_activation: Before rather than after.
        residual_sum: Whether the input is added.
        dropout: Probability that an activation between the convolutions is dropped.
    """

    def __init__(
        self,
        channels: int,
        *,
        activation: ActivationBuilder,
        pre_activation: bool,
        residual_sum: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.residual_sum = residual_sum
        first = nn.Conv2d(channels, channels, 3, padding=1)
        second = nn.Conv2d(channels, channels, 3, padding=1)
        self.body = (
            nn.Sequential(activation(channels), first, nn.Dropout(dropout), activation(channels), second)
            if pre_activation
            else nn.Sequential(first, activation(channels), nn.Dropout(dropout), second, activation(channels))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape ``(N, channels, H, W)``."""
        context: Tensor = self.body(x)
        return x + context if self.residual_sum else context


class Encoder(nn.Module):
    """Levels of a 3x3 convolution, strided but for the first, and a context module.

    Args:
        in_channels: Channels of the image.
        channels: Channels of each level, fine to coarse.
        activation: Builds normalisation and LeakyReLU.
        plain_activation: Builds LeakyReLU alone, which the authors' first level has in its context module and
            skip connection.
        context: Builds a context module, given its channels and ``activation``.
        pre_activation: Activate before the convolutions of a context module rather than after.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        *,
        activation: ActivationBuilder,
        plain_activation: ActivationBuilder,
        context: Callable[..., nn.Module],
        pre_activation: bool,
    ) -> None:
        super().__init__()
        first = channels[0]
        self.first_level = nn.Sequential(nn.Conv2d(in_channels, first, 3, padding=1))
        if pre_activation:
            self.first_level.append(context(first, activation=plain_activation))
            self.first_skip, self.first_output = plain_activation(first), activation(first)
        else:
            self.first_level.extend([activation(first), context(first, activation=activation)])
            self.first_skip, self.first_output = nn.Identity(), nn.Identity()

        self.levels = nn.ModuleList()
        for narrow, wide in pairwise(channels):
            conv = nn.Conv2d(narrow, wide, 3, stride=2, padding=1)
            module = context(wide, activation=activation)
            after_conv = [module, activation(wide)] if pre_activation else [activation(wide), module]
            self.levels.append(nn.Sequential(conv, *after_conv))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Returns the output of every level i, fine to coarse: ``(N, C * 2**i, H / 2**i, W / 2**i)``."""
        x = self.first_level(image)
        outputs: list[Tensor] = [self.first_skip(x)]
        x = self.first_output(x)
        for level in self.levels:
            x = level(x)
            outputs.append(x)
        return outputs


class LocalizationModule(nn.Module):
    """A 3x3 convolution that recombines the concatenated features, then a 1x1 (paper, section 2.2).

    Args:
        channels: Channels of the output, half of those of the input.
        halves: Which of the two convolutions halves the channels.
        activation: Builds normalisation and LeakyReLU, put after each convolution.
    """

    def __init__(self, channels: int, *, halves: Literal["1x1", "3x3"], activation: ActivationBuilder) -> None:
        super().__init__()
        middle = 2 * channels if halves == "1x1" else channels
        self.recombine = nn.Sequential(nn.Conv2d(2 * channels, middle, 3, padding=1), activation(middle))
        self.reduce = nn.Sequential(nn.Conv2d(middle, channels, 1), activation(channels))
        self.segmented_is_wide = halves == "1x1"
        self.segmented_channels = middle

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what the segmentation layer reads and what the next upsampling module reads."""
        wide: Tensor = self.recombine(x)
        reduced: Tensor = self.reduce(wide)
        return wide if self.segmented_is_wide else reduced, reduced


class Decoder(nn.Module):
    """Upsampling modules, each followed by a localization module; the finest by a 3x3 convolution.

    Args:
        channels: Channels of each encoder level, fine to coarse.
        activation: Builds normalisation and LeakyReLU.
        localization_halves: Which convolution of a localization module halves the channels.
        bridge_convolution: A 1x1 convolution after the first upsampling.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        activation: ActivationBuilder,
        localization_halves: Literal["1x1", "3x3"],
        bridge_convolution: bool,
    ) -> None:
        super().__init__()
        self.ups = nn.ModuleList()
        for narrow, wide in pairwise(channels):
            upsample = nn.Upsample(scale_factor=2, mode="nearest")
            conv = nn.Conv2d(wide, narrow, 3, padding=1)
            self.ups.append(nn.Sequential(upsample, conv, activation(narrow)))
        deepest = channels[-2]
        self.bridge = (
            nn.Sequential(nn.Conv2d(deepest, deepest, 1), activation(deepest)) if bridge_convolution else nn.Identity()
        )
        localizations = [
            LocalizationModule(width, halves=localization_halves, activation=activation) for width in channels[1:-1]
        ]
        last = 2 * channels[0]
        self.localizations = nn.ModuleList(localizations)
        self.last = nn.Sequential(nn.Conv2d(last, last, 3, padding=1), activation(last))
        self.segmented_channels = [last, *(module.segmented_channels for module in localizations)]

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Maps the outputs of the encoder to what the segmentation layers read, both fine to coarse."""
        x = levels[-1]
        features: list[Tensor] = []
        for scale in reversed(range(len(self.ups))):
            x = self.ups[scale](x)
            if scale == len(self.ups) - 1:
                x = self.bridge(x)
            x = torch.cat([levels[scale], x], dim=1)
            if scale > 0:
                segmented, x = self.localizations[scale - 1](x)
            else:
                segmented = self.last(x)
            features.insert(0, segmented)
        return features


class ImprovedUNet(nn.Module):
    """Improved UNet (Isensee et al. 2017) in two dimensions; the defaults are the paper.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 for a binary mask.
        base_channels: Channels at full resolution; every level down doubles them. Not whole: each level is rounded.
        depth: How often the resolution is halved.
        norm: Normalisation before each LeakyReLU.
        negative_slope: Slope of LeakyReLU below zero.
        pre_activation: In the encoder, activate before a convolution rather than after.
        residual_sum: Add the input of a context module to its output.
        dropout: Dropout between the convolutions of a context module, element by element.
        bridge_convolution: A 1x1 convolution after the first upsampling.
        localization_halves: Which convolution of a localization module halves the channels.
        segmentation_levels: At how many of the finest decoder scales the segmentations are summed.
        segmentation_kernel: Kernel size of the segmentation layers.
        segmentation_activation: LeakyReLU after the segmentation layers.
        output_convolution: A 1x1 convolution after the sum.
        supervision_weights: Weight of the loss at each decoder scale, fine to coarse; zero builds no head.
    """

    def __init__(
        self,
        in_channels: PositiveInt,
        num_classes: PositiveInt,
        *,
        base_channels: PositiveFloat = 16,
        depth: Annotated[int, Interval(ge=1, le=7)] = 4,
        norm: Norm = "instance",
        negative_slope: NonNegativeFloat = 0.01,
        pre_activation: bool = True,
        residual_sum: bool = True,
        dropout: Probability = 0.3,
        bridge_convolution: bool = True,
        localization_halves: Literal["1x1", "3x3"] = "1x1",
        segmentation_levels: PositiveInt = 3,
        segmentation_kernel: Literal[1, 3] = 1,
        segmentation_activation: bool = False,
        output_convolution: bool = False,
        supervision_weights: Sequence[NonNegativeFloat] = (1.0,),
    ) -> None:
        super().__init__()
        self.depth = depth
        channels = level_widths(base_channels, depth)
        activation = partial(norm_activation, norm=norm, negative_slope=negative_slope)
        self.encoder = Encoder(
            in_channels,
            channels,
            activation=activation,
            plain_activation=partial(norm_activation, norm="none", negative_slope=negative_slope),
            context=partial(ContextModule, pre_activation=pre_activation, residual_sum=residual_sum, dropout=dropout),
            pre_activation=pre_activation,
        )
        self.decoder = Decoder(
            channels,
            activation=activation,
            localization_halves=localization_halves,
            bridge_convolution=bridge_convolution,
        )
        self.heads = SegmentationHeads(
            self.decoder.segmented_channels,
            num_classes,
            supervision_weights,
            segmentation_levels=segmentation_levels,
            kernel_size=segmentation_kernel,
            activation=nn.LeakyReLU(negative_slope) if segmentation_activation else None,
            output=nn.Conv2d(num_classes, num_classes, 1) if output_convolution else None,
        )
        he_normal_(self, negative_slope=negative_slope)
        if isinstance(self.heads.output, nn.Conv2d) and not segmentation_activation:
            nn.init.dirac_(self.heads.output.weight)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Segments ``image`` of shape ``(N, in_channels, H, W)``.

        Returns:
            Logits ``(N, num_classes, H, W)``; in training with deep supervision a list of logits, fine to
            coarse, that of scale i being ``ceil(H / 2**i)`` by ``ceil(W / 2**i)``.
        """
        levels = self.encoder(pad_to_stride(image, 2**self.depth))
        prediction: Tensor | list[Tensor]
        prediction = self.heads(self.decoder(levels), (image.shape[-2], image.shape[-1]))
        return prediction

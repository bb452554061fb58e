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

from annotated_types import Interval
from torch import Tensor, nn

from unet_exp.bounds import NonNegativeFloat, PositiveFloat, PositiveInt
from unet_exp.model._init import he_normal_
from unet_exp.model._norm import Norm
from unet_exp.model._padding import pad_to_stride
from unet_exp.model._residual import NEGATIVE_SLOPE, Decoder, Encoder, ResidualBlock, conv_norm_activation
from unet_exp.model._supervision import SegmentationHeads
from unet_exp.model._width import level_widths


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
        self.encoder = Encoder(channels[0], channels, blocks_per_stage, norm=norm)
        self.decoder = Decoder(channels, convolutions=decoder_convolutions, norm=norm)
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
        features = self.decoder(self.encoder(x))
        prediction: Tensor | list[Tensor] = self.heads(features, (height, width))
        return prediction

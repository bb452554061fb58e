"""DynUNet of MONAI: the plain UNet that nnU-Net builds, by the other library that is widely used.

Papers: Isensee et al., *nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation*,
Nature Methods 2021, https://doi.org/10.1038/s41592-020-01008-z; MONAI, https://arxiv.org/abs/2211.02701. All blocks
are MONAI's (``monai.networks.nets.DynUNet``, Apache 2.0), with its initial weights; MONAI is optional and imported
when the network is built.

Differs from the library:
    - The blocks are called one after the other instead of through MONAI's nested skip layers, which hold each of them
      a second time and bring all outputs of deep supervision to full size. The numbers are the same.
    - Deep supervision has a head for each scale whose loss has a weight, full resolution first.
    - The widths follow from ``base_channels`` and ``channel_cap``: 32 doubled up to 512 by default, as nnU-Net in two
      dimensions. nnU-Net chooses the depth with the patch size; here it is given.
    - Any height and width is padded to a multiple of the stride and cropped back.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from annotated_types import Interval
from torch import Tensor, nn

from unet_exp.bounds import NonNegativeFloat, PositiveFloat, PositiveInt, Probability
from unet_exp.model._init import he_normal_
from unet_exp.model._optional import import_optional
from unet_exp.model._padding import pad_to_stride
from unet_exp.model._supervision import SegmentationHeads
from unet_exp.model._width import level_widths

NEGATIVE_SLOPE = 0.01  # of LeakyReLU, MONAI's default


class MonaiDynUNet(nn.Module):
    """MONAI's DynUNet in two dimensions.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 for a binary mask.
        base_channels: Channels at full resolution, any positive number; every level down doubles them.
        channel_cap: Most channels of a level, as a multiple of ``base_channels``.
        depth: How often the resolution is halved.
        norm: Normalisation after each 3x3 convolution.
        residual: Whether the blocks of the encoder are residual ones.
        dropout: Probability that an activation is dropped after a convolution.
        segmentation_levels: At how many of the finest decoder scales the logits are added up; 1 for no sum.
        supervision_weights: Weight of the loss at each decoder scale, fine to coarse; zero builds no head.

    Raises:
        MissingPackageError: MONAI is not installed.
    """

    def __init__(
        self,
        in_channels: PositiveInt,
        num_classes: PositiveInt,
        *,
        base_channels: PositiveFloat = 32,
        channel_cap: PositiveFloat = 16,
        depth: Annotated[int, Interval(ge=2, le=8)] = 6,
        norm: Literal["instance", "batch"] = "instance",
        residual: bool = False,
        dropout: Probability = 0.0,
        segmentation_levels: PositiveInt = 1,
        supervision_weights: Sequence[NonNegativeFloat] = (1.0,),
    ) -> None:
        super().__init__()
        nets: Any = import_optional("monai.networks.nets", network="monai_dynunet", extra="monai")
        self.depth = depth
        channels = level_widths(base_channels, depth, cap=channel_cap)
        body = nets.DynUNet(
            spatial_dims=2,
            in_channels=in_channels,
            out_channels=num_classes,
            kernel_size=[3] * (depth + 1),
            strides=[1] + [2] * depth,
            upsample_kernel_size=[2] * depth,
            filters=channels,
            dropout=dropout or None,
            norm_name=(norm, {"affine": True}),
            res_block=residual,
        )
        self.encoder = nn.ModuleList([body.input_block, *body.downsamples, body.bottleneck])
        self.decoder = body.upsamples  # coarse to fine
        self.heads = SegmentationHeads(
            channels[:-1], num_classes, supervision_weights, segmentation_levels=segmentation_levels
        )
        he_normal_(self.heads, negative_slope=NEGATIVE_SLOPE)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Segments ``image`` of shape ``(N, in_channels, H, W)``.

        Returns:
            Logits ``(N, num_classes, H, W)``; in training with deep supervision a list of logits, fine to
            coarse, that of scale i being ``ceil(H / 2**i)`` by ``ceil(W / 2**i)``.
        """
        height, width = image.shape[-2:]
        x = pad_to_stride(image, 2**self.depth)
        skips: list[Tensor] = []
        for block in self.encoder:
            x = block(x)  # (N, min(C * 2**level, C * cap), H / 2**level, W / 2**level)
            skips.append(x)
        skips.pop()  # the deepest level is the bottleneck, not a skip

        features: list[Tensor] = []
        for block in self.decoder:
            x = block(x, skips.pop())
            features.insert(0, x)
        prediction: Tensor | list[Tensor] = self.heads(features, (height, width))
        return prediction

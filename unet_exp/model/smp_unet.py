"""Unet of segmentation_models.pytorch: a UNet whose encoder is a network for classification, pretrained if you like.

Code: https://github.com/qubvel-org/segmentation_models.pytorch (MIT), ``segmentation_models_pytorch.Unet``; the
encoder is one of its many, ResNet-34 (He et al. 2016, https://arxiv.org/abs/1512.03385) by default. The library is
optional and imported when the network is built. It needs torchvision, which must be built for the installed torch:
one that is not breaks more than this network.

Differs from the library:
    - Without ``encoder_weights`` nothing is downloaded and the encoder starts from random weights; the library's
      default is ImageNet's. Pretrained or not, images are normalised by mean and spread of the dataset at hand.
    - The widths of the decoder follow from ``base_channels``; the default is the library's, 256 to 16 channels.
    - The library has no deep supervision, nor has this.
    - Any height and width is padded to a multiple of the stride and cropped back.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from annotated_types import Interval
from torch import Tensor, nn

from unet_exp.bounds import NonNegativeFloat, PositiveFloat, PositiveInt
from unet_exp.model._optional import import_optional
from unet_exp.model._padding import crop_to_scale, pad_to_stride
from unet_exp.model._supervision import supervised_scales
from unet_exp.model._width import level_widths


class SmpUNet(nn.Module):
    """Unet of segmentation_models.pytorch.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits; 1 for a binary mask.
        base_channels: Channels of the decoder at full resolution, any positive number; every level down doubles
            them. The encoder has its own widths.
        depth: How often the resolution is halved.
        encoder_name: One of the library's encoders.
        encoder_weights: Name of pretrained weights, which the library downloads, such as ``imagenet``; None for
            random ones.
        supervision_weights: Must be zero but for full resolution.

    Raises:
        MissingPackageError: The library is not installed.
        ValueError: The library knows no such encoder or weights, or deep supervision is asked for.
    """

    def __init__(
        self,
        in_channels: PositiveInt,
        num_classes: PositiveInt,
        *,
        base_channels: PositiveFloat = 16,
        depth: Annotated[int, Interval(ge=3, le=5)] = 5,
        encoder_name: str = "resnet34",
        encoder_weights: str | None = None,
        supervision_weights: Sequence[NonNegativeFloat] = (1.0,),
    ) -> None:
        super().__init__()
        if supervised_scales(supervision_weights, depth) != (0,):
            raise ValueError("smp_unet predicts at full resolution only: use supervision=none.")
        library: Any = import_optional("segmentation_models_pytorch", network="smp_unet", extra="smp")
        self.depth = depth
        try:
            self.body = library.Unet(
                encoder_name=encoder_name,
                encoder_depth=depth,
                encoder_weights=encoder_weights,
                decoder_channels=level_widths(base_channels, depth - 1)[::-1],
                in_channels=in_channels,
                classes=num_classes,
            )
        except KeyError as error:  # what the library raises for names that it does not know
            raise ValueError(str(error.args[0])) from None

    def forward(self, image: Tensor) -> Tensor:
        """Segments ``image`` of shape ``(N, in_channels, H, W)``.

        Returns:
            Logits ``(N, num_classes, H, W)``.
        """
        size = (image.shape[-2], image.shape[-1])
        return crop_to_scale(self.body(pad_to_stride(image, 2**self.depth)), size, 0)

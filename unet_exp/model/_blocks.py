"""The pair of convolutions that most networks of the family have at every level."""

from torch import nn

from unet_exp.model._norm import Norm, normalization


def conv_norm_relu(
    in_channels: int, out_channels: int, *, norm: Norm, kernel_size: int = 3, dilation: int = 1
) -> nn.Sequential:
    """A convolution that keeps height and width, a normalisation and ReLU.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        norm: Normalisation; with one the convolution has no bias, which it would cancel.
        kernel_size: Of the convolution, odd.
        dilation: Pixels from one weight of the kernel to the next.
    """
    border = dilation * (kernel_size // 2)
    bias = norm == "none"
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=border, dilation=dilation, bias=bias),
        normalization(norm, out_channels),
        nn.ReLU(inplace=True),
    )


def double_conv(in_channels: int, out_channels: int, *, norm: Norm) -> nn.Sequential:
    """Twice a 3x3 convolution, normalisation and ReLU."""
    return nn.Sequential(
        conv_norm_relu(in_channels, out_channels, norm=norm), conv_norm_relu(out_channels, out_channels, norm=norm)
    )

"""unet_exp: train, compare and honestly evaluate UNet-family segmentation networks."""

__version__ = "0.1.0"

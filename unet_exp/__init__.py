"""unet_exp: train, compare and honestly evaluate UNet-family segmentation networks."""

import os

__version__ = "0.1.0"

# Importing albumentations asks PyPI for a newer version and waits two seconds where there is no network.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

"""Predicting images of any size with one network or several."""

from unet_exp.inference._ensemble import Ensemble, common_inference, members_of
from unet_exp.inference._image import ArrayReader, ArrayWriter, ImageJob, ImageReader, LabelWriter
from unet_exp.inference.sliding_window import SlidingWindow

__all__ = [
    "ArrayReader",
    "ArrayWriter",
    "Ensemble",
    "ImageJob",
    "ImageReader",
    "LabelWriter",
    "SlidingWindow",
    "common_inference",
    "members_of",
]

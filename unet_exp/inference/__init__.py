"""Predicting images of any size with one network or several."""

from unet_exp.inference._image import ArrayReader, ArrayWriter, ImageJob, ImageReader, LabelWriter
from unet_exp.inference.sliding_window import SlidingWindow

__all__ = ["ArrayReader", "ArrayWriter", "ImageJob", "ImageReader", "LabelWriter", "SlidingWindow"]

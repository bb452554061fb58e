"""Class ids as a picture: an indexed PNG whose pixel values are the ids and whose palette shows the classes."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from unet_exp.prediction.result import Prediction
from unet_exp.prediction.saving.complete_file import complete_file


def save_label_png(prediction: Prediction, path: Path) -> None:
    """Write the class ids (H, W) as an indexed PNG; its text field "classes" holds their names as a JSON list.

    Pillow encodes straight from the memory map: a map larger than the memory is no obstacle.
    """
    labels = np.ascontiguousarray(prediction.labels)
    height, width = labels.shape
    picture = Image.frombuffer("P", (width, height), labels, "raw", "P", 0, 1)
    # Of all 256 ids: with fewer colours Pillow packs several pixels into a byte, which confuses simple readers.
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(prediction.description.palette)] = prediction.description.palette
    picture.putpalette(palette.tobytes())
    text = PngInfo()
    text.add_itxt("classes", json.dumps(list(prediction.description.class_names), ensure_ascii=False))
    with complete_file(path) as file:
        picture.save(file, "PNG", pnginfo=text)

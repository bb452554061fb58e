import io

import numpy as np
from PIL import Image

from unet_exp.figure.case import VIEWS, case_pictures
from unet_exp.figure.panel import Example

PALETTE = [(0, 0, 0), (0, 200, 0)]


def test_pictures_of_one_size_show_image_masks_and_errors():
    truth = np.zeros((300, 1000), np.uint8)
    truth[:, :500] = 1
    example = Example("", np.full((300, 1000, 3), 128, np.uint8), truth, np.roll(truth, 100, 1))
    files = case_pictures(example, palette=PALETTE, ignore_index=255, hide=[0])
    assert tuple(files) == VIEWS
    pictures = {view: np.asarray(Image.open(io.BytesIO(content))).astype(int) for view, content in files.items()}
    assert {picture.shape for picture in pictures.values()} == {(154, 512, 3)}
    assert np.abs(pictures["image"] - 128).max() < 4

    def greenness(view, column):
        return pictures[view][77, column, 1] - pictures[view][77, column, 0]

    assert greenness("truth", 25) > 20 > abs(greenness("truth", 281))
    assert greenness("prediction", 281) > 20 > abs(greenness("prediction", 25))
    right, wrong = pictures["error"][77, 150], pictures["error"][77, 281]
    assert wrong[0] > wrong[1] + 50
    assert right[0] < right[2]


def test_small_images_are_not_enlarged():
    example = Example("", np.zeros((20, 30, 3), np.uint8), *np.zeros((2, 20, 30), np.uint8))
    files = case_pictures(example, palette=PALETTE, ignore_index=255)
    assert Image.open(io.BytesIO(files["error"])).size == (30, 20)

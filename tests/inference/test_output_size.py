"""Predictions at the size of the file: interpolated band by band, the same as the whole at once."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unet_exp.inference import ArrayReader, ArrayWriter, ImageJob, SlidingWindow
from unet_exp.inference import _resize as resize_module
from unet_exp.inference._resize import BandResizer

CPU = torch.device("cpu")


@pytest.mark.parametrize("output_size", [(1, 1), (7, 9), (20, 13), (41, 60), (200, 3), (113, 127)])
@pytest.mark.parametrize("heights", [[20], [1] * 20, [7, 1, 9, 3], [19, 1]])
@pytest.mark.parametrize("pixels_at_once", [1, 100, 2**23])
def test_bands_are_interpolated_as_the_whole(monkeypatch, output_size, heights, pixels_at_once):
    monkeypatch.setattr(resize_module, "_PIXELS_AT_ONCE", pixels_at_once)
    values = torch.randn(3, 20, 13, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(values[None], output_size, mode="bilinear", align_corners=False)[0]
    resizer = BandResizer((20, 13), output_size, CPU)
    result = torch.full((3, *output_size), torch.nan)
    top, next_row = 0, 0
    for height in heights:
        for first, rows in resizer.resize(top, values[:, top : top + height]):
            assert first == next_row
            next_row = first + rows.shape[1]
            result[:, first:next_row] = rows
        top += height
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1)).eval()
    return lambda windows: layers(windows.float() / 127.5 - 1)


@pytest.mark.parametrize("output_size", [(77, 140), (31, 30), (50, 61)])
@pytest.mark.parametrize("tta", ["none", "d4"])
def test_labels_are_those_of_interpolated_logits(network, output_size, tta):
    image = np.random.default_rng(0).integers(0, 256, (50, 61, 3), np.uint8)
    labels, probabilities = np.full(output_size, 99, np.uint8), np.full((4, *output_size), np.nan, np.float32)
    engine = SlidingWindow(window_size=32, halo=4, blend="crop", alignment=4, tta=tta)
    writer = ArrayWriter(labels, probabilities)
    engine.predict([network], ArrayReader(image), writer, output_size=output_size, probabilities=True)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    logits = F.interpolate(engine(network, pixels), output_size, mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(probabilities, logits.softmax(0), atol=1e-5)
    sure = logits.topk(2, 0).values.diff(dim=0).abs()[0] > 1e-4
    np.testing.assert_array_equal(labels[sure], logits.argmax(0).to(torch.uint8)[sure])


def test_images_get_the_size_each_asks_for_and_windows_are_counted(network):
    images = [np.full((20 + 10 * i, 40, 3), 50 * i, np.uint8) for i in range(3)]
    sizes = [(40, 80), None, (5, 5)]
    labels = [np.full(size or image.shape[:2], 99, np.uint8) for size, image in zip(sizes, images, strict=True)]
    jobs = [ImageJob(ArrayReader(i), ArrayWriter(o), s) for i, o, s in zip(images, labels, sizes, strict=True)]
    told = []
    engine = SlidingWindow(window_size=20, overlap=0.0, batch_size=3)
    engine.predict_images([network], jobs, report=lambda done, known: told.append((done, known)))
    assert all((one < 4).all() for one in labels)
    assert told[-1] == (2 + 4 + 4, 2 + 4 + 4)
    assert all(done <= known for done, known in told)

"""Sliding windows: every pixel predicted, no seams, networks without padding included."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from unet_exp.inference import SlidingWindow
from unet_exp.model.unet import UNet


def smooth(images):
    """A network whose answer does not depend on where a window lies."""
    return images.mean(1, keepdim=True)


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (20, 130), (7, 5), (32, 31)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
def test_windows_of_a_pointwise_network_give_the_image(size, overlap):
    images = torch.rand(2, 3, *size)
    blended = SlidingWindow(window_size=32, overlap=overlap, batch_size=5)(smooth, images)
    torch.testing.assert_close(blended, smooth(images), atol=1e-5, rtol=0)


def test_without_window_the_image_is_taken_in_one_piece():
    seen = []

    def network(images):
        seen.append(tuple(images.shape))
        return smooth(images)

    SlidingWindow(window_size=None, batch_size=2)(network, torch.rand(5, 3, 40, 50))
    assert seen == [(2, 3, 40, 50), (2, 3, 40, 50), (1, 3, 40, 50)]


def test_images_smaller_than_a_window_are_not_padded():
    seen = set()

    def network(images):
        seen.add(tuple(images.shape[-2:]))
        return smooth(images)

    SlidingWindow(window_size=32)(network, torch.rand(1, 3, 20, 24))
    assert seen == {(32, 32), (20, 24)}  # the first is the probe for padding


def test_network_without_padding_predicts_every_pixel():
    """Windows of unpadded convolutions join to exactly what one pass over the mirrored image gives."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    images = torch.rand(2, 3, 100, 70)
    with torch.no_grad():
        blended = SlidingWindow(window_size=30, overlap=0.25)(network, images)
        whole = network(functional.pad(images, (3, 3, 3, 3), mode="replicate"))
    torch.testing.assert_close(blended, whole)


@pytest.mark.slow
def test_unpadded_unet_predicts_images_smaller_and_larger_than_its_window():
    network = UNet(3, 2, base_channels=2, padding="valid", norm="none").eval()
    with torch.no_grad():
        for size in ((200, 190), (20, 30)):
            assert SlidingWindow(window_size=188)(network, torch.rand(1, 3, *size)).shape == (1, 2, *size)


def test_centre_of_a_window_counts_more_than_its_border():
    """A network that is wrong at the border of its windows is right after blending."""

    class Border(nn.Module):
        def forward(self, images):
            logits = torch.zeros_like(images[:, :1])
            logits[..., 4:-4, 4:-4] = 1.0
            return logits

    blended = SlidingWindow(window_size=32, overlap=0.5)(Border(), torch.zeros(1, 3, 96, 96))
    assert blended[..., 8:-8, 8:-8].min() > 0.8

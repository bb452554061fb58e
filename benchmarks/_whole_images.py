"""A network, and this project's and the plain way to predict a whole image with it in windows."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks._regions import make_region
from unet_exp.config import compose_config
from unet_exp.inference import ArrayWriter, ImageReader, LabelWriter, SlidingWindow
from unet_exp.model.unet import UNet

CLASSES = 5
TRAINING_CROP = 256

Labels = NDArray[np.uint8]
Predict = Callable[[ImageReader], Labels]
"""Class ids (H, W) of an image of bytes."""


def use_all_processors() -> None:
    """As many threads as this process may use processors, unless OMP_NUM_THREADS says otherwise."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0)))))


def build_network(base_channels: int) -> UNet:
    """The UNet that all contestants share, channels last; batch normalisation looks at nothing beyond a pixel."""
    torch.manual_seed(0)
    network = UNet(3, CLASSES, base_channels=base_channels, padding="same", norm="batch", dropout=0.0)
    return network.eval().to(memory_format=torch.channels_last)


def train_network(network: nn.Module, steps: int) -> nn.Module:
    """Teach it bands of smoothed brightness, so that its logits are no noise and need context."""
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    image = normalize(torch.from_numpy(make_region(1, 1024)[0]).permute(2, 0, 1)[None])
    smooth = nn.functional.avg_pool2d(image.mean(1, keepdim=True), 63, 1, 31, count_include_pad=False)[:, 0]
    target = torch.bucketize(smooth, torch.quantile(smooth.flatten()[::7], torch.tensor([0.2, 0.4, 0.6, 0.8])))
    for _ in range(steps):
        y, x = torch.randint(0, 1024 - TRAINING_CROP, (2,)).tolist()
        crop = (slice(None), ..., slice(y, y + TRAINING_CROP), slice(x, x + TRAINING_CROP))
        loss = nn.functional.cross_entropy(network(image[crop]), target[crop])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def normalize(images: Tensor) -> Tensor:
    """Bytes to -1..1."""
    return images.float() / 127.5 - 1


def to_tensor(reader: ImageReader, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """A normalised part (1, 3, h, w) of an image, channels last: what every contestant's network sees."""
    pixels = reader.read(rows[0], columns[0], rows[1] - rows[0], columns[1] - columns[0])
    return normalize(torch.from_numpy(pixels).permute(2, 0, 1)[None])


def whole_tensor(reader: ImageReader) -> Tensor:
    """All of a normalised image (1, 3, H, W), for contestants that want it in memory."""
    height, width = reader.shape
    return to_tensor(reader, (0, height), (0, width))


def one_pass(network: nn.Module) -> Predict:
    """The whole image at once: what windows should come close to."""

    def predict(reader: ImageReader) -> Labels:
        return to_labels(network(whole_tensor(reader))[0])

    return predict


def plain_tiles(network: nn.Module, tile: int) -> Predict:
    """Tiles side by side, each read, normalised, predicted and classified on its own: the reference of all times."""

    def predict(reader: ImageReader) -> Labels:
        height, width = reader.shape
        labels = np.empty((height, width), np.uint8)
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                rows, columns = (top, min(top + tile, height)), (left, min(left + tile, width))
                logits = network(to_tensor(reader, rows, columns))[0]
                labels[slice(*rows), slice(*columns)] = to_labels(logits)
        return labels

    return predict


def ours(network: nn.Module, options: Mapping[str, Any]) -> Predict:
    """This project's engine with the labels in memory, as the others have them.

    Args:
        network: Takes normalised images.
        options: A group of conf/inference, see `shipped_options`.
    """
    stream = streaming(network, options)

    def predict(reader: ImageReader) -> Labels:
        labels = np.empty(reader.shape, np.uint8)
        stream(reader, ArrayWriter(labels))
        return labels

    return predict


def streaming(network: nn.Module, options: Mapping[str, Any]) -> Callable[[ImageReader, LabelWriter], None]:
    """This project's engine, whose labels go to a writer row by row."""
    engine: SlidingWindow = instantiate(dict(options))

    def predict(reader: ImageReader, writer: LabelWriter) -> None:
        engine.predict([lambda windows: network(normalize(windows))], reader, writer)

    return predict


def shipped_options(name: str = "halo") -> dict[str, Any]:
    """What conf/inference/<name>.yaml says."""
    return {**compose_config("train", ["data=folder", f"inference={name}"])["inference"]}


def to_labels(logits: Tensor) -> Labels:
    """Class ids (H, W) of logits (K, H, W)."""
    return logits.argmax(0).to(torch.uint8).numpy()

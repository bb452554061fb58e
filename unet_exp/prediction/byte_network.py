"""A network that takes images as they are read, as bytes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ByteNetwork(nn.Module):
    """Normalises bytes and hands them to a network, in the numbers and in the order of training.

    It is in evaluation mode when it is built.

    Args:
        network: Takes (N, C, H, W) float32, normalised; gives logits (N, K, H, W).
        mean: Per channel, of images scaled to 0..1.
        std: Per channel, of images scaled to 0..1.

    Raises:
        ValueError: There are not as many values of `mean` as of `std`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std):
            raise ValueError(f"`mean` has {len(mean)} values and `std` has {len(std)}: give one of each per channel.")
        self.network = network
        for name, values in (("mean", mean), ("std", std)):
            buffer = torch.tensor([float(value) for value in values], dtype=torch.float32).view(1, -1, 1, 1)
            self.register_buffer(name, buffer, persistent=False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K, H, W) float32 of uint8 images (N, C, H, W)."""
        logits: Tensor = self.network((images.to(torch.float32) / 255 - self.mean) / self.std)
        return logits

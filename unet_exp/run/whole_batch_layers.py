"""Layers that see the batch of all processes, as one process with the whole batch would."""

import torch
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from torch import Tensor, nn

from unet_exp.global_batch import batch_sums, over_all_processes, place_in_batch


class WholeBatchDropout(nn.Dropout):
    """Draws for the samples of all processes, and uses what belongs to its own.

    Every process must have the same random state. On the CPU one process draws the same numbers with ``nn.Dropout``.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Keep the shape ``(N, ...)``; sample i of process r is sample i * R + r of the whole batch."""
        if not self.training or self.p == 0:
            return features
        rank, processes = place_in_batch()
        # As torch does it on the CPU: the order in memory decides which number is whose.
        channels_last = features.ndim == 4 and features.is_contiguous(memory_format=torch.channels_last)
        noise = torch.empty(
            (len(features) * processes, *features.shape[1:]),
            dtype=features.dtype,
            device=features.device,
            memory_format=torch.channels_last if channels_last else torch.contiguous_format,
        )
        return features * noise.bernoulli_(1 - self.p).div_(1 - self.p)[rank::processes]


class WholeBatchNorm(nn.BatchNorm2d):
    """What torch's SyncBatchNorm, which needs a GPU, does there."""

    def forward(self, features: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)`` by mean and variance of the whole batch."""
        if not self.training:
            return super().forward(features)
        exact = features.to(torch.promote_types(torch.float32, features.dtype))
        mean, variance, count = _moments(exact)
        self._remember(mean, variance * (count / (count - 1).clamp(min=1)))
        normal = (exact - _per_channel(mean)) * _per_channel((variance + self.eps).rsqrt())
        if self.weight is not None:
            normal = normal * _per_channel(self.weight) + _per_channel(self.bias)
        return normal.to(features.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.detach().to(self.running_mean), self.momentum)
        self.running_var.lerp_(variance.detach().to(self.running_var), self.momentum)


def _moments(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of each channel over the whole batch, and the number of values."""
    values = torch.tensor(features.numel() / features.shape[1], device=features.device)
    with over_all_processes():
        total, count = batch_sums(features.sum((0, 2, 3)), values)
        mean = total / count
        (squares,) = batch_sums((features - _per_channel(mean)).square().sum((0, 2, 3)))
    return mean, squares / count, count


def _per_channel(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)


class WholeBatchLayers(TorchSyncBatchNorm):
    """Lightning's plugin that exchanges layers for the time of a distributed training; all keys stay the same.

    Args:
        batch_norm: Whether batch normalisation is done over the whole batch too, which costs two exchanges per layer.
    """

    def __init__(self, *, batch_norm: bool) -> None:
        self._batch_norm = batch_norm
        self.on_gpu = False

    def apply(self, model: nn.Module) -> nn.Module:
        """Let dropout, and batch normalisation if wanted, see the whole batch."""
        if self._batch_norm and self.on_gpu:
            model = super().apply(model)
        elif self._batch_norm:
            _exchange(model, nn.BatchNorm2d, WholeBatchNorm)
        _exchange(model, nn.Dropout, WholeBatchDropout)
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Put the ordinary layers back."""
        _exchange(model, WholeBatchDropout, nn.Dropout)
        _exchange(model, WholeBatchNorm, nn.BatchNorm2d)
        return super().revert(model) if self._batch_norm and self.on_gpu else model


def _exchange(model: nn.Module, old: type[nn.Module], new: type[nn.Module]) -> None:
    """Change only how layers compute: what they hold is the same."""
    for module in model.modules():
        if type(module) is old:
            module.__class__ = new

"""What a network costs, counted and not measured: parameters, multiply-accumulates, memory of a training step.

Everything runs on PyTorch's meta device, whose tensors have shapes but no numbers: nothing is computed, nothing is
allocated, and a network of any width takes the same fraction of a second.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from unet_exp.errors import ConfigError
from unet_exp.gradient_checkpointing import kept_forward

_COUNTED_SAMPLES = 2
"""Batch normalisation needs two where the coarsest level is a single position."""

_OPTIMISER_COPIES = 2
"""Adam and AdamW keep two running means per parameter; SGD with momentum keeps one."""


@dataclass(frozen=True)
class NetworkCost:
    """What a network costs.

    Args:
        parameters: Trainable parameters.
        gmacs: Multiply-accumulates of one forward pass of one training sample, in 10^9.
        state_bytes: Weights, buffers, gradients and two copies of the parameters for Adam.
        sample_bytes: Activations that a training step keeps for the gradient of one sample.
    """

    parameters: int
    gmacs: float
    state_bytes: int = 0
    sample_bytes: float = 0.0

    def training_memory_mb(self, batch_size: int) -> float:
        """Estimated peak of a training step of so many samples on one device, in MiB.

        In 32 bits, without the loss, the buffers of the convolutions, and what the libraries themselves need.
        """
        return (self.state_bytes + batch_size * self.sample_bytes) / 2**20


def measure_cost(network: nn.Module, in_channels: int, sample_size: tuple[int, int]) -> NetworkCost:
    """Count parameters, multiply-accumulates and memory without computing anything.

    Args:
        network: Any network.
        in_channels: Channels of its input.
        sample_size: Height and width of a training sample.

    Raises:
        ConfigError: If the network refuses samples of that size.
    """
    replica = copy.deepcopy(network).to("meta")
    state = count_state_bytes(replica)
    with _refusals():
        sample = count_sample_bytes(replica, in_channels, sample_size)
        gmacs = count_gmacs(replica, in_channels, sample_size)
    return NetworkCost(count_parameters(network), gmacs, state, sample)


@contextmanager
def _refusals() -> Iterator[None]:
    """A size that the network does not take is a mistake in the configuration."""
    try:
        yield
    except ValueError as error:
        raise ConfigError([f"data, model: {error}"]) from None


def network_inputs(network: nn.Module, in_channels: int, size: tuple[int, int], count: int) -> list[Tensor]:
    """What the forward pass of a network takes, on the meta device.

    Args:
        network: One with a `context_factor` above 0 takes a context image of the same size too.
        in_channels: Channels of the image.
        size: Height and width.
        count: Images.

    Returns:
        `[image]` or `[image, context]`, each `(count, in_channels, *size)`.
    """
    number = 2 if getattr(network, "context_factor", 0) else 1
    return [torch.empty(count, in_channels, *size, device="meta") for _ in range(number)]


def count_parameters(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def count_gmacs(network: nn.Module, in_channels: int, size: tuple[int, int]) -> float:
    """Multiply-accumulates of a forward pass of one image in evaluation, in 10^9; `network` is on the meta device."""
    inputs = network_inputs(network, in_channels, size, 1)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(*inputs)
    return float(counter.get_total_flops() / 2e9)


def count_state_bytes(network: nn.Module) -> int:
    """Weights and buffers, and for what is trained a gradient and two copies for Adam."""
    tensors = [*network.parameters(), *network.buffers()]
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return sum(t.nbytes for t in tensors) + (1 + _OPTIMISER_COPIES) * sum(t.nbytes for t in trained)


def count_sample_bytes(network: nn.Module, in_channels: int, size: tuple[int, int]) -> float:
    """Activations that a training step keeps for the gradient of one image; `network` is on the meta device.

    With gradient checkpointing, those are the inputs of its blocks and, at the peak, the activations of the block that
    needs most.
    """
    kept = _SavedTensors(network)
    again = [0]
    handles = _watch_checkpointed(network, kept, again)
    with torch.enable_grad(), kept.counted():
        network.train()(*network_inputs(network, in_channels, size, _COUNTED_SAMPLES))
    for handle in handles:
        handle.remove()
    return (kept.total + max(again)) / _COUNTED_SAMPLES


class _SavedTensors:
    """Memory of the tensors that autograd keeps, each piece once and the parameters not at all."""

    def __init__(self, network: nn.Module) -> None:
        self._alive: list[Tensor] = []  # else the address of one that was freed could be used again
        self._known = {_address(tensor) for tensor in (*network.parameters(), *network.buffers())}
        self.total = 0

    def add(self, tensor: Tensor) -> Tensor:
        address = _address(tensor)
        if address not in self._known:
            self._known.add(address)
            self._alive.append(tensor.detach())
            self.total += tensor.untyped_storage().nbytes()
        return tensor

    def leave_out(self, tensor: Tensor) -> None:
        """This one is counted elsewhere."""
        self._known.add(_address(tensor))

    def counted(self) -> saved_tensors_hooks:
        """While this is entered, what autograd keeps is counted."""
        return saved_tensors_hooks(self.add, lambda tensor: tensor)


def _address(tensor: Tensor) -> int:
    """Tells pieces of memory apart, on the meta device too, where none has a real address."""
    return int(tensor.untyped_storage()._cdata)


def _watch_checkpointed(network: nn.Module, kept: _SavedTensors, again: list[int]) -> list[RemovableHandle]:
    """Count what the blocks of gradient checkpointing keep, and in `again` what each needs when computed once more."""
    handles = []
    for block in network.modules():
        forward = kept_forward(block)
        if forward is not None:
            handles.append(block.register_forward_pre_hook(_watcher(network, forward, kept, again)))
    return handles


def _watcher(
    network: nn.Module, forward: Callable[..., Any], kept: _SavedTensors, again: list[int]
) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def watch(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        if not torch.is_grad_enabled():
            return
        inside = _SavedTensors(network)
        for tensor in arguments:
            kept.add(tensor)
            inside.leave_out(tensor)
        with inside.counted():
            forward(*arguments)
        again.append(inside.total)

    return watch

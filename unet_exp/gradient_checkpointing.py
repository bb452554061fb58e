"""Less memory for more computing: activations are computed again when the gradient needs them.

Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost, https://arxiv.org/abs/1604.06174. Only the inputs of
the chosen blocks are kept; every block runs forward twice. The numbers are the same to the last bit.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

_CONVOLUTIONS = (2, 4)
"""Of a block, as one level of a UNet has. Smaller blocks keep more, larger ones need more while computed again."""


def checkpoint_gradients(network: nn.Module) -> list[str]:
    """Let a network keep only the inputs of its blocks, in place; the keys of its weights stay the same.

    Args:
        network: Any; its blocks are the largest modules with two to four convolutions.

    Returns:
        Names of the blocks.
    """
    chosen = list(_blocks(network))
    for _, block in chosen:
        block.forward = partial(_forward, block, block.forward)
    return [name for name, _ in chosen]


def kept_forward(block: nn.Module) -> Callable[..., Any] | None:
    """The forward pass that a block chosen by `checkpoint_gradients` had before; None for other modules."""
    forward = vars(block).get("forward")
    return forward.args[1] if isinstance(forward, partial) and forward.func is _forward else None


def _blocks(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    least, most = _CONVOLUTIONS
    for name, child in module.named_children():
        count = sum(isinstance(part, nn.Conv2d | nn.ConvTranspose2d) for part in child.modules())
        is_container = isinstance(child, nn.ModuleList | nn.ModuleDict)  # these have no forward pass
        if least <= count <= most and not is_container:
            yield f"{prefix}{name}", child
        elif count >= least:
            yield from _blocks(child, f"{prefix}{name}.")


def _forward(block: nn.Module, forward: Callable[..., Any], *arguments: Any) -> Any:
    if not (block.training and torch.is_grad_enabled()):
        return forward(*arguments)
    return checkpoint(forward, *arguments, use_reentrant=False, context_fn=partial(_contexts, block))


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Around the first pass, and around the second one."""
    return nullcontext(), _statistics_kept(block)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Running means have seen the batch in the first pass already."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    momenta, counts = [norm.momentum for norm in norms], [_copy(norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None and count is not None:
                norm.num_batches_tracked.copy_(count)


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()

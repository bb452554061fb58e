"""Every network of conf/model, as far as its library is installed, and independent counts of what one costs."""

import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.errors import UserError
from unet_exp.instantiate import build
from unet_exp.locations import CONFIG_FOLDER

MODELS = sorted(path.stem for path in (Path(CONFIG_FOLDER) / "model").glob("*.yaml"))


def model_block(model: str) -> DictConfig:
    """A file of conf/model without what it chooses of other groups."""
    block = OmegaConf.load(Path(CONFIG_FOLDER) / "model" / f"{model}.yaml")
    assert isinstance(block, DictConfig)
    block.pop("defaults", None)
    return block


def composed(model: str, *overrides: str) -> dict:
    """The checked configuration of a training; skips the test where the network needs a library that is absent."""
    config = check_train_config(compose_config("train", ["data=bcss", f"model={model}", *overrides]))
    with skipping_without_its_library(), torch.device("meta"):
        build(config, "model")
    return config


@contextmanager
def skipping_without_its_library() -> Iterator[None]:
    """Skip the test when a network inside the block needs a library that is absent."""
    try:
        yield
    except UserError as error:
        if "pip install" in str(error):
            pytest.skip(str(error))
        raise


def network_of(config: dict, *, on: str = "meta") -> nn.Module:
    """The network of a configuration."""
    torch.manual_seed(0)
    with torch.device(on):
        return build(config, "model")


def multiply_accumulates(network: nn.Module, inputs: Sequence[torch.Tensor]) -> int:
    """Of all convolutions and linear layers in a forward pass, from the shapes of what goes in and comes out."""
    total = 0

    def count(module, given, output):
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.ConvTranspose2d):
            total += given[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += output.numel() * module.in_features

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    with torch.no_grad():
        network.eval()(*inputs)
    for hook in hooks:
        hook.remove()
    return total


class LiveTensors(TorchDispatchMode):
    """Bytes of the tensors that exist at the same time: of `there`, and of all that the operations inside make."""

    def __init__(self, there: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._known: set[int] = set()
        for tensor in there:
            self._see(tensor.untyped_storage())

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                self._see(tensor.untyped_storage())
        self.peak = max(self.peak, self._now)
        return result

    def _see(self, storage) -> None:
        key = storage._cdata
        if key not in self._known:
            self._known.add(key)
            self._now += storage.nbytes()
            weakref.finalize(storage, self._gone, key, storage.nbytes())

    def _gone(self, key: int, size: int) -> None:
        self._now -= size
        self._known.discard(key)

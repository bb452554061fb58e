"""One generic check of the configuration: every ``_target_`` block against the signature it will call.

The constructor's signature is the schema: names, required arguments, types, ``Literal`` choices and
ranges (``Annotated[int, Gt(0)]``, see :mod:`unet_exp.bounds`) are read from it, so no schema is written
twice and third-party classes are checked like our own. All mistakes are reported at once.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unet_exp.config import PrepareSettings, TrainSettings, to_plain
from unet_exp.errors import ConfigError
from unet_exp.evaluation_settings import StatisticsBlock
from unet_exp.reporting.settings import ReportSettings
from unet_exp.signature import call_mistakes

_HYDRA_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
_OWNERS: dict[Any, str] = {
    TrainSettings: "The training configuration",
    PrepareSettings: "The configuration of prepare",
    ReportSettings: "The configuration of the report",
    StatisticsBlock: "The configuration of evaluate",
}


def check_train_config(config: DictConfig) -> dict[str, Any]:
    """Check a training configuration before anything is built.

    Args:
        config: The composed configuration.

    Returns:
        The configuration as plain, fully resolved dicts and lists.

    Raises:
        ConfigError: With every mistake found, one line each.
    """
    plain = check_config(config, TrainSettings)
    mistakes = [*_class_count_mistakes(plain), *_context_mistakes(plain)]
    if mistakes:
        raise ConfigError(mistakes)
    return plain


def check_config(config: DictConfig, settings: type[Any]) -> dict[str, Any]:
    """Check a configuration against the closed dataclass of its command and the signatures of its blocks.

    Args:
        config: The composed configuration.
        settings: The dataclass.

    Returns:
        The configuration as plain, fully resolved dicts and lists.

    Raises:
        ConfigError: With every mistake found, one line each.
    """
    try:
        plain = to_plain(config)
    except OmegaConfBaseException as error:
        raise ConfigError(_interpolation_mistakes(config, error)) from None
    mistakes = [*call_mistakes("", settings, plain, owner=_OWNERS[settings]), *_block_mistakes("", plain)]
    if mistakes:
        raise ConfigError(mistakes)
    return plain


def _interpolation_mistakes(config: DictConfig, error: OmegaConfBaseException) -> list[str]:
    missing = list(_missing_keys("", OmegaConf.to_container(config, resolve=False)))
    if missing:
        return [f"{key}: this value must be given, for example {key}=..." for key in missing]
    return [f"{error.full_key or 'configuration'}: {str(error).splitlines()[0]}"]


def _missing_keys(path: str, node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _missing_keys(f"{path}.{key}" if path else str(key), value)
    elif node == "???":
        yield path


def _class_count_mistakes(plain: Mapping[str, Any]) -> Iterator[str]:
    """A rule that signatures cannot see: network and dataset must agree on the classes."""
    model, data = plain["model"].get("num_classes"), plain["data"].get("num_classes")
    if model is not None and model != data:
        yield (
            f"model.num_classes: the network has {model} outputs but the dataset needs {data}. "
            "Leave model.num_classes at ${data.num_classes}."
        )


def _context_mistakes(plain: Mapping[str, Any]) -> Iterator[str]:
    """Another one: surroundings can be supervised only where the network predicts them."""
    model = plain["model"]
    predicts = bool(model.get("context_weight") and model.get("context_factor"))
    if plain["supervision"].get("context_weight") and not predicts:
        yield (
            "supervision.context_weight: this network predicts no surroundings that could be supervised. Use "
            "supervision=deep, or a network with a context branch, model=ctx_resunet."
        )


def _block_mistakes(path: str, node: Any) -> Iterator[str]:
    """Walk the tree and check every block that has a ``_target_``."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield from _target_mistakes(path, node)
        for key, value in node.items():
            yield from _block_mistakes(f"{path}.{key}" if path else str(key), value)
    elif isinstance(node, list):
        for position, value in enumerate(node):
            yield from _block_mistakes(f"{path}[{position}]", value)


def _target_mistakes(path: str, block: Mapping[str, Any]) -> Iterator[str]:
    try:
        target = locate(block["_target_"])
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        yield f"{path}._target_: cannot find {block['_target_']!r} ({error})."
        return
    arguments = {key: value for key, value in block.items() if key not in _HYDRA_KEYS}
    yield from call_mistakes(path, target, arguments, partial=bool(block.get("_partial_", False)))


def locate(dotted: str) -> Callable[..., Any]:
    """Import ``package.module.Name``, also where Name is nested (``module.Class.method``).

    Raises:
        ImportError: If no leading part of the path is a module.
        AttributeError: If the module has no such name.
    """
    parts = dotted.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is not None and module_name.startswith(error.name):
                continue
            raise
        for name in parts[cut:]:
            found = getattr(found, name)
        if not callable(found):
            raise TypeError("it is not callable")
        return found  # type: ignore[no-any-return]
    raise ImportError(f"no module named {parts[0]!r}")

"""One generic check of the configuration: every ``_target_`` block against the signature it will call.

The constructor's signature is the schema: names, required arguments, types, ``Literal`` choices and
ranges (``Annotated[int, Gt(0)]``, see :mod:`unet_exp.bounds`) are read from it, so no schema is written
twice and third-party classes are checked like our own. All mistakes are reported at once.
"""

import difflib
import importlib
import inspect
import json
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from unet_exp.config import PrepareSettings, TrainSettings, to_plain
from unet_exp.errors import ConfigError
from unet_exp.reporting.settings import ReportSettings

_HYDRA_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
_OWNERS: dict[Any, str] = {
    TrainSettings: "The training configuration",
    PrepareSettings: "The configuration of prepare",
    ReportSettings: "The configuration of the report",
}
_NOT_FOR_YAML = {"is_instance_of", "needs_python_object"}


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
    mistakes = list(_class_count_mistakes(plain))
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
    mistakes = [*_call_mistakes("", settings, plain, partial=False), *_block_mistakes("", plain)]
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
    """The one rule that signatures cannot see: network and dataset must agree on the classes."""
    model, data = plain["model"].get("num_classes"), plain["data"].get("num_classes")
    if model is not None and model != data:
        yield (
            f"model.num_classes: the network has {model} outputs but the dataset needs {data}. "
            "Leave model.num_classes at ${data.num_classes}."
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
    yield from _call_mistakes(path, target, arguments, partial=bool(block.get("_partial_", False)))


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


def _call_mistakes(
    path: str, target: Callable[..., Any], arguments: Mapping[str, Any], *, partial: bool
) -> Iterator[str]:
    """Compare keyword arguments with the signature of `target`."""
    parameters = inspect.signature(target).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    named = {
        name: p
        for name, p in parameters.items()
        if p.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    }
    prefix = f"{path}." if path else ""
    owner = _OWNERS.get(target, target.__name__)
    for key in arguments:
        if key not in named and not takes_any:
            hint = did_you_mean(key, named, otherwise="It takes")
            yield f"{prefix}{key}: {owner} has no such argument. {hint}"
    if not partial:
        for name, parameter in named.items():
            if parameter.default is inspect.Parameter.empty and name not in arguments:
                yield f"{prefix}{name}: {owner} needs this argument, but it is missing."
    hints = _type_hints(target)
    for key, value in arguments.items():
        if key in named and key in hints:
            yield from _value_mistakes(f"{prefix}{key}", hints[key], value)


def did_you_mean(wrong: str, known: Iterable[str], *, otherwise: str) -> str:
    """The known name most like a wrong one, or all of them after the words `otherwise`."""
    names = list(known)
    close = difflib.get_close_matches(wrong, names, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"{otherwise}: {', '.join(names) or 'nothing'}."


def _type_hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Evaluated annotations of the call; empty where they need a TYPE_CHECKING import (names only then)."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


def _value_mistakes(path: str, annotation: Any, value: Any) -> Iterator[str]:
    if _holds_block(value):
        return  # built from its own _target_; what it becomes is not a yaml value
    try:
        adapter = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # a type with its own config, such as one of our dataclasses
        adapter = TypeAdapter(annotation)
    except Exception:
        return  # pydantic cannot describe this third-party annotation: the name was checked, the value is not
    try:
        # Strict JSON mode is what a yaml value is: lists may become tuples, strings never become numbers.
        adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        yield from _readable(path, value, error)


def _holds_block(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "_target_" in value or any(_holds_block(item) for item in value.values())
    return isinstance(value, list) and any(_holds_block(item) for item in value)


def _readable(path: str, value: Any, error: ValidationError) -> Iterator[str]:
    """Turn pydantic's report into one line per value: alternatives of a union are joined by 'or'."""
    reasons: dict[str, list[str]] = {}
    inputs: dict[str, Any] = {}
    for item in error.errors(include_url=False, include_context=False):
        where = ".".join([path, *(str(part) for part in item["loc"] if _is_key(part, value))])
        inputs[where] = item["input"]
        known = reasons.setdefault(where, [])
        if item["type"] in _NOT_FOR_YAML:
            continue  # one alternative of a union that no yaml value can be, such as a tensor
        reason = item["msg"].removeprefix("Input should be ") if known else item["msg"]
        if reason not in known:
            known.append(reason)
    for where, parts in reasons.items():
        yield f"{where}: {' or '.join(parts) or 'This cannot be written in yaml'}, got {inputs[where]!r}."


def _is_key(part: str | int, value: Any) -> bool:
    """Whether a part of pydantic's location is a key of the yaml value rather than the name of a type."""
    if isinstance(part, int):
        return True
    return isinstance(value, Mapping) and (
        part in value or any(isinstance(v, Mapping) and part in v for v in value.values())
    )

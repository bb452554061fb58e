"""Comparing plain values with the signature they are meant for: names, required arguments, types, ranges.

Nothing here imports Hydra or OmegaConf: the commands that do without them check their arguments all the same.
"""

import difflib
import inspect
import json
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

_NOT_FOR_YAML = {"is_instance_of", "needs_python_object"}


def call_mistakes(
    path: str, target: Callable[..., Any], arguments: Mapping[str, Any], *, partial: bool = False, owner: str = ""
) -> Iterator[str]:
    """Compare keyword arguments with the signature of `target`.

    Args:
        path: Key of the block, empty at the top.
        target: What will be called.
        arguments: By name, plain values as yaml has them.
        partial: Whether arguments may be missing.
        owner: Name of the target for people; empty takes its own.

    Yields:
        One line per mistake.
    """
    parameters = inspect.signature(target).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    named = {
        name: p
        for name, p in parameters.items()
        if p.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    }
    prefix = f"{path}." if path else ""
    owner = owner or target.__name__
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

"""Reading ``key=value`` arguments without Hydra.

Values are yaml, as everywhere; those of text keys are taken literally, so that no file name needs quotes.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from unet_exp.errors import ConfigError
from unet_exp.locations import CONFIG_FOLDER
from unet_exp.signature import did_you_mean

_MISSING = "???"


def read_root(name: str) -> dict[str, Any]:
    """The keys of ``conf/<name>.yaml`` with their defaults."""
    content = yaml.safe_load((Path(CONFIG_FOLDER) / f"{name}.yaml").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def parse_arguments(
    arguments: Sequence[str], defaults: Mapping[str, Any], *, text_keys: Collection[str] = (), blocks: Collection[str]
) -> dict[str, Any]:
    """Defaults with the given values.

    Args:
        arguments: ``key=value``, or ``block.key=value``.
        defaults: Every key, with its default; ``???`` must be given.
        text_keys: Keys whose values are text, or lists of texts written ``[a,b]``.
        blocks: Keys that collect the values of ``block.key=value`` in a dict; ``block=value`` goes there as ``""``.

    Raises:
        ConfigError: With every mistake found.
    """
    values: dict[str, Any] = {**defaults, **{block: {} for block in blocks}}
    mistakes = []
    for argument in arguments:
        key, separator, text = argument.partition("=")
        block, _, name = key.partition(".")
        if not separator:
            mistakes.append(f"{argument}: arguments are written key=value.")
        elif block in blocks:
            values[block][name] = _value(text)
        elif key in defaults:
            values[key] = _text(text) if key in text_keys else _value(text)
        else:
            mistakes.append(f"{key}: there is no such key. {did_you_mean(key, defaults, otherwise='The keys are')}")
    mistakes += [f"{key}: this value must be given, for example {key}=..." for key in values if values[key] == _MISSING]
    if mistakes:
        raise ConfigError(mistakes)
    return values


def _value(text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if value is None or isinstance(value, bool | int | float | str | list) else text


def _text(text: str) -> str | list[str] | None:
    if text == "null":
        return None
    if text.startswith("[") and text.endswith("]") and not Path(text).exists():
        return [part.strip().strip("'\"") for part in text[1:-1].split(",") if part.strip()]
    return text

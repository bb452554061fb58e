"""What is wrong with a search, found before anything runs."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unet_exp.errors import ConfigError
from unet_exp.search.settings import SearchSettings
from unet_exp.search.space import Choice, Number, Space
from unet_exp.signature import did_you_mean


def fitted(space: Space, config: DictConfig) -> Space:
    """The space in which intervals of keys that hold whole numbers, such as model.base_channels, hold whole numbers.

    Args:
        space: As it was read; Hydra's intervals are real.
        config: The configuration with what is fixed.
    """
    return Space(tuple(_fitted(parameter, config) for parameter in space.parameters), space.fixed)


def _fitted(parameter: Choice | Number, config: DictConfig) -> Choice | Number:
    if isinstance(parameter, Choice) or parameter.step or not (parameter.low % 1 == parameter.high % 1 == 0):
        return parameter
    held = _held(config, parameter.key)
    return dataclasses.replace(parameter, whole=isinstance(held, int) and not isinstance(held, bool))


def _held(config: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(config, key.lstrip("+"), default=None)
    except OmegaConfBaseException:
        return None


def check_space(
    space: Space,
    settings: SearchSettings,
    config: DictConfig,
    loader: ConfigLoader,
    compose: Callable[[Sequence[str]], object],
) -> None:
    """Refuse a search of which some trials could not even be composed.

    Args:
        space: What is searched.
        settings: How.
        config: The configuration with what is fixed, Hydra's own part included.
        loader: Knows the groups.
        compose: Composes the configuration of one trial from its command line.

    Raises:
        ConfigError: Naming every mistake.
    """
    mistakes = [
        line for parameter in space.parameters for line in _mistakes(parameter, settings, space, config, loader)
    ]
    if not mistakes:
        mistakes = list(dict.fromkeys(_composition_mistakes(space, compose)))
    if mistakes:
        raise ConfigError(mistakes)


def _mistakes(
    parameter: Choice | Number, settings: SearchSettings, space: Space, config: DictConfig, loader: ConfigLoader
) -> Iterator[str]:
    key = parameter.key
    if settings.sampler == "grid" and parameter.grid() is None:
        yield (
            f"{key}: a grid needs a list of values or steps, choice(a,b,c) or range(a,b,step); an interval has no end "
            "of values (or take hydra.sweeper.sampler=tpe)."
        )
    if key.startswith(("+", "~")) or "@" in key:
        return
    options = loader.get_group_options(key)
    if options:
        yield from _option_mistakes(parameter, options)
    else:
        groups = {other.key for other in space.parameters if loader.get_group_options(other.key)}
        if key.split(".")[0] not in groups:  # else the key may depend on the option; composing tells
            yield from _key_mistakes(key, config)


def _option_mistakes(parameter: Choice | Number, options: list[str]) -> Iterator[str]:
    known = [option for option in options if not option.startswith("_")]
    if isinstance(parameter, Number):
        yield f"{parameter.key}: takes names, not numbers. Known: {', '.join(known)}."
        return
    for value in parameter.values:
        if value.strip("'\"") not in (*known, "null") and not value.startswith("["):
            hint = did_you_mean(value, known, otherwise="Known")
            yield f"{parameter.key}: there is no {value!r}. {hint}"


def _key_mistakes(key: str, config: DictConfig) -> Iterator[str]:
    node: Any = config
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, DictConfig) or part not in node:
            names = [str(name) for name in node if name != "hydra"] if isinstance(node, DictConfig) else []
            owner = ".".join(parts[:depth]) or "the configuration"
            hint = did_you_mean(part, names, otherwise=f"{owner} has")
            yield f"{key}: {owner} has no {part!r}. {hint}"
            return
        node = node._get_node(part)
        if isinstance(node, DictConfig) and (node._is_none() or node._is_missing()):
            node = None


def _composition_mistakes(space: Space, compose: Callable[[Sequence[str]], object]) -> Iterator[str]:
    """Every option once, and both ends of every interval."""
    first = {parameter.key: _ends(parameter)[0] for parameter in space.parameters}
    seen = set()
    for parameter in space.parameters:
        for value in _ends(parameter):
            drawn = space.drawn({**first, parameter.key: value})
            if tuple(drawn) in seen:
                continue
            seen.add(tuple(drawn))
            try:
                compose([*space.fixed, *drawn])
            except ConfigError as error:
                yield from error.mistakes
            except (HydraException, OmegaConfBaseException) as error:
                told = str(error.__cause__ or error)
                yield f"{' '.join(drawn)}: {told.splitlines()[0]}"


def _ends(parameter: Choice | Number) -> tuple[Any, ...]:
    return parameter.values if isinstance(parameter, Choice) else (parameter.low, parameter.high)

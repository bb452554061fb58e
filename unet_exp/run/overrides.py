"""Command-line overrides on top of the configuration that a run has saved."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unet_exp.config import compose_config, to_plain
from unet_exp.errors import ConfigError
from unet_exp.locations import CONFIG_FOLDER

_INPUT_KEYS = (
    "image_size",
    "slices",
    "window",
    "mpp",
    "context_mpp",
    "stain",
    "patch_size",
    "window_size",
    "in_channels",
    "mean",
    "std",
)
"""Keys of a dataset that describe what the network was trained to see, not which files there are."""


def parse_overrides(arguments: Sequence[str]) -> list[Override]:
    """Parse ``key=value`` arguments with Hydra's grammar.

    Raises:
        ConfigError: If one does not follow it.
    """
    try:
        return OverridesParser.create().parse_overrides(list(arguments))
    except HydraException as error:
        raise ConfigError([str(error).splitlines()[0]]) from None


def is_group(override: Override) -> bool:
    """Whether an override chooses an option of a group (``data=ph2``) rather than a value."""
    return bool(override.key_or_group) and (Path(CONFIG_FOLDER) / override.key_or_group).is_dir()


def refuse_null_options(arguments: Sequence[str]) -> None:
    """Refuse ``arm=null``, which Hydra answers with a traceback.

    Raises:
        ConfigError: Naming the group.
    """
    for argument in arguments:
        group, _, option = argument.partition("=")
        if option == "null" and (Path(CONFIG_FOLDER) / group).is_dir():
            raise ConfigError([f"{group}: null is no option of this group. Leave {group}= away to choose none."])


def apply_overrides(saved: Mapping[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    """The saved configuration with groups exchanged and values changed.

    Args:
        saved: Plain, resolved configuration of a run.
        arguments: For example ``["data=ph2", "data.root=/path"]``. An exchanged group is composed as in
            training, with the arguments that belong to it.

    Raises:
        ConfigError: If a group has no such option or a key does not exist.
    """
    overrides = parse_overrides(arguments)
    groups = [override.key_or_group for override in overrides if is_group(override)]
    result = dict(saved)
    if groups:
        relevant = [o.input_line for o in overrides if o.key_or_group.split(".")[0] in groups and o.input_line]
        needed = [] if "data" in groups else ["data=bcss_demo"]  # `data` has no default; its block is not used
        composed = _composed([*needed, *relevant])
        whole = [group for group in groups if group not in composed]  # experiment, arm, recipe
        if whole:
            raise ConfigError([f"{g}: this is chosen before training; the run has its values already." for g in whole])
        result |= {group: composed[group] for group in groups}
    if "data" in groups:
        result["data"] = _as_the_network_knows(saved["data"], result["data"], overrides)
    for override in overrides:
        if override.key_or_group.split(".")[0] not in groups:
            result = _with_value(result, override)
    return result


def _as_the_network_knows(
    saved: Mapping[str, Any], chosen: Mapping[str, Any], overrides: Sequence[Override]
) -> dict[str, Any]:
    """Keep the run's own resolution and normalisation for another dataset, unless they are given."""
    given = {override.key_or_group for override in overrides}
    kept = {key: saved[key] for key in _INPUT_KEYS if key in saved and key in chosen and f"data.{key}" not in given}
    return {**chosen, **kept}


def _composed(arguments: list[str]) -> dict[str, Any]:
    try:
        return to_plain(compose_config("train", arguments))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError([" ".join(str(error).split())]) from None


def _with_value(config: dict[str, Any], override: Override) -> dict[str, Any]:
    node = OmegaConf.create(config)
    OmegaConf.set_struct(node, True)
    try:
        OmegaConf.update(node, override.key_or_group, override.value(), force_add=override.is_add())
    except OmegaConfBaseException:
        raise ConfigError(
            [f"{override.key_or_group}: the run's configuration has no such key (see config.yaml in its folder)."]
        ) from None
    plain = OmegaConf.to_container(node)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}

"""Which run is it? A hash of what decides the result, and a guard against continuing another one."""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from unet_exp.errors import UserError

NOT_IDENTITY = (
    "name",
    "sweep",
    "study",
    "output_folder",
    "store_folder",
    "resume",
    "logger",
    "checkpoint",
    "gradient_checkpointing",
    "data.root",
    "data.url",
    "data.girder_url",
    "data.girder_folder",
    "data.roi_bounds_url",
    "loader.num_workers",
    "loader.persistent_workers",
    "loader.pin_memory",
    "loader.prefetch_factor",
    "trainer.enable_progress_bar",
    "trainer.strategy.timeout_minutes",
)
"""Paths and machine settings: two runs that differ only here give the same result."""


_ADDED_LATER = {"scored_checkpoint": "best"}
"""Keys that earlier versions did not have, with what these did: their runs stay the same runs."""


def config_hash(config: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits over the configuration without paths and machine settings."""
    canonical = json.dumps(deciding(config), sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that decides the result, without what follows from it.

    With a budget that is the width, which is the same before and after it was solved. Without one there is no such key,
    as in runs of before there were budgets.
    """
    reduced = without(config, NOT_IDENTITY)
    budget = budget_of(config)
    if not budget:
        reduced.pop("budget", None)
    elif isinstance(reduced.get("model"), dict):
        reduced["model"].pop(budget.get("width_key", "base_channels"), None)
    return {key: value for key, value in reduced.items() if key not in _ADDED_LATER or value != _ADDED_LATER[key]}


def budget_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The block of the budget; empty if there is none, or the run is of before there were budgets."""
    return dict(config.get("budget") or {})


def run_label(config: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Name of a run's folder: model, dataset and the hash of everything that decides the result.

    Args:
        config: The plain, resolved configuration.
        names: Chosen option of the groups model and data; and of arm and recipe, in a study.
    """
    return f"{model_name(names)}-{names['data']}-{config_hash(config)}"


def model_name(names: Mapping[str, str]) -> str:
    """What the model of a run is called in folders and reports.

    Args:
        names: Chosen option of the group model. An arm of a study gives its own name to it; a recipe is added.
    """
    chosen = (names.get("arm") or names["model"], names.get("recipe"))
    return "-".join(name for name in chosen if name)


def sweep_name(name: str | None, overrides: Sequence[str]) -> str:
    """Name of a sweep's folder: the same command always gets the same one.

    Args:
        name: The key `name` of the configuration, which decides if it is set.
        overrides: The command line of the sweep; paths and machine settings in it do not count, nor does the order.
    """
    if name:
        return name
    deciding = sorted(o for o in overrides if not is_machine_setting(o.partition("=")[0].lstrip("+~")))
    return f"sweep-{hashlib.sha256(json.dumps(deciding).encode()).hexdigest()[:8]}"


def is_machine_setting(key: str) -> bool:
    """Whether a key of the configuration decides nothing of the result."""
    return any(key == name or key.startswith(f"{name}.") for name in NOT_IDENTITY)


def without(config: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """A copy of the configuration without the given dotted keys."""
    reduced = copy.deepcopy(dict(config))
    for key in keys:
        *parents, last = key.split(".")
        node: Any = reduced
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(last, None)
    return reduced


def refuse_other_run(saved: Mapping[str, Any], wanted: Mapping[str, Any], folder: str) -> None:
    """Refuse to continue a run with another network or other data.

    Args:
        saved: Configuration of the run folder.
        wanted: Configuration that shall continue it.
        folder: Name of the run folder, for the message.

    Raises:
        UserError: Naming both sides of every difference.
    """
    differences = []
    for block in ("model", "data", "budget"):
        before, after = (_flat(without(config, NOT_IDENTITY).get(block) or {}) for config in (saved, wanted))
        for key in sorted(before.keys() | after.keys()):
            if before.get(key) != after.get(key):
                differences.append(f"  {block}.{key}: {before.get(key)!r} in the run, {after.get(key)!r} now")
    if differences:
        raise UserError(
            f"{folder} was trained with another model or dataset and cannot be continued as this one:\n"
            + "\n".join(differences)
            + "\nUse resume=<run folder> alone, or start a new run without resume."
        )


def _flat(node: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(node, Mapping):
        return {path: node}
    return {
        place: value
        for key, child in node.items()
        for place, value in _flat(child, f"{path}.{key}" if path else str(key)).items()
    }

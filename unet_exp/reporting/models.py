"""Which runs are seeds of the same model, what to call it, and how the configurations of models differ."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from unet_exp.reporting.datasets import dataset_name
from unet_exp.reporting.runs import LeftOut, Run, printable
from unet_exp.run.identity import config_hash, deciding, without

_NAMED_DIFFERENCES = 3
"""So many settings stand in a model's name; the others are in the table of differences."""

_BUDGETS = {
    "macs": "{gmacs:g} GMACs",
    "params": "{million_parameters:g} M parameters",
    "memory": "{memory_gib:g} GiB",
}


@dataclass(frozen=True)
class Model:
    """Runs that differ in nothing but the seed.

    Args:
        name: Unique among the models of one dataset.
        runs: Ordered by seed.
    """

    name: str
    runs: Sequence[Run]

    @property
    def seeds(self) -> list[int]:
        """Seeds of the runs."""
        return [run.seed for run in self.runs]


def set_repeats_aside(runs: Sequence[Run]) -> tuple[list[Run], list[LeftOut]]:
    """Keep one run of each configuration and seed: a copy is no second seed, and would make intervals too narrow.

    Args:
        runs: The first of several equal ones is kept, whatever it scored.
    """
    kept: dict[tuple[str, str, str, str], Run] = {}
    repeats = []
    for run in runs:
        key = (dataset_name(run.config), run.model, config_hash(run.config), run.split["hash"])
        if key in kept:
            reason = f"the same configuration and seed as {kept[key].path}, so it does not count as another seed"
            repeats.append(LeftOut(run.path, reason))
        else:
            kept[key] = run
    return list(kept.values()), repeats


def group_models(runs: Sequence[Run]) -> list[Model]:
    """Runs by model: the same configuration but for the seed, paths and machine settings."""
    groups: dict[_Key, list[Run]] = defaultdict(list)
    for run in runs:
        key = _Key(dataset_name(run.config), run.model, config_hash(without(run.config, ("seed",))))
        groups[key].append(run)
    names = _unique_names({key: flat_config(group[0]) for key, group in groups.items()})
    return [Model(names[key], sorted(group, key=lambda run: run.seed)) for key, group in groups.items()]


class _Key(NamedTuple):
    dataset: str
    model: str
    config: str


def _unique_names(configs: Mapping[_Key, Mapping[str, str]]) -> dict[_Key, str]:
    """The chosen model, and where that is ambiguous, the settings in which its variants differ."""
    names: dict[_Key, str] = {}
    for (_, base), variants in itertools.groupby(sorted(configs), key=lambda key: (key.dataset, key.model)):
        keys = list(variants)
        named = _telling_keys([configs[key] for key in keys])
        for key in keys:
            settings = ", ".join(f"{_short(place)}={configs[key].get(place, '–')}" for place in named)
            names[key] = f"{base} ({settings})" if settings else base
    taken = Counter((key.dataset, name) for key, name in names.items())
    return {k: name if taken[k.dataset, name] == 1 else f"{name} [{k.config}]" for k, name in names.items()}


def _telling_keys(configs: Sequence[Mapping[str, str]]) -> list[str]:
    """Settings that tell variants apart; those inside a block whose class differs go without saying."""
    differing = differing_keys(configs)
    exchanged = [key.removesuffix("_target_") for key in differing if key.endswith("._target_")]
    kept = [k for k in differing if k.endswith("._target_") or not k.startswith(tuple(exchanged))]
    return kept[:_NAMED_DIFFERENCES]


def _short(place: str) -> str:
    """`loss` for `loss._target_`, `lr` for `optim.lr`."""
    return place.removesuffix("._target_").rpartition(".")[2]


def differing_keys(configs: Sequence[Mapping[str, str]]) -> list[str]:
    """Keys that do not have the same value everywhere, in the order of the first configuration that has them."""
    keys = dict.fromkeys(key for config in configs for key in config)
    return [key for key in keys if len({config.get(key) for config in configs}) > 1]


def flat_config(run: Run) -> dict[str, str]:
    """The configuration as `block.key` to text, without the seed, paths and machine settings.

    Of a budget only the amount is told that was met, not the width that follows from it.
    """
    config = without(deciding(run.config), ("seed",))
    if budget := config.get("budget"):
        config["budget"] = _BUDGETS[budget["by"]].format(**budget)
    return dict(_flatten("", config))


def _flatten(path: str, node: Any) -> list[tuple[str, str]]:
    if isinstance(node, list) and any(isinstance(item, Mapping) for item in node):
        node = {str(number): item for number, item in enumerate(node)}
    if isinstance(node, Mapping):
        children = [_flatten(f"{path}.{key}" if path else str(key), child) for key, child in node.items()]
        return list(itertools.chain.from_iterable(children))
    text = "null" if node is None else str(node)
    return [(printable(path), text.rpartition(".")[2] if path.endswith("_target_") else printable(text))]

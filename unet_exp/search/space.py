"""What is searched, read from Hydra's own grammar: choice(a,b), a,b, range(a,b,step), interval(a,b), tag(log,...).

Nothing here imports Optuna.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, Sweep
from hydra.errors import HydraException

from unet_exp.errors import ConfigError
from unet_exp.run.identity import is_machine_setting
from unet_exp.signature import did_you_mean

Value = str | int | float


@dataclass(frozen=True)
class Choice:
    """A parameter that takes one of several values.

    Args:
        key: Left side of its override.
        values: Right sides.
    """

    key: str
    values: tuple[str, ...]

    def override(self, value: Value) -> str:
        """Command-line argument that sets it."""
        return f"{self.key}={value}"

    def grid(self) -> tuple[Value, ...] | None:
        """All values, None if there is no end of them."""
        return self.values

    def __str__(self) -> str:
        return ", ".join(self.values)


@dataclass(frozen=True)
class Number:
    """A parameter between two numbers, both of them included.

    Args:
        key: Left side of its override.
        low: Least value.
        high: Greatest value.
        whole: Whether it is an integer.
        log: Whether ratios count instead of differences.
        step: Distance of neighbours, None if there is none.
    """

    key: str
    low: float
    high: float
    whole: bool = False
    log: bool = False
    step: float | None = None

    def override(self, value: Value) -> str:
        """Command-line argument that sets it; six digits are kept, so that people can read and repeat it."""
        return f"{self.key}={int(value)}" if self.whole else f"{self.key}={float(f'{value:.6g}')!r}"

    def grid(self) -> tuple[Value, ...] | None:
        """All values, None if there is no end of them."""
        if self.step is None:
            return None
        points = [self.low + self.step * n for n in range(round((self.high - self.low) / self.step) + 1)]
        return tuple(int(p) if self.whole else min(float(f"{p:.10g}"), self.high) for p in points)

    def __str__(self) -> str:
        kind = ", whole numbers" if self.whole else ""
        scale = ", logarithmic" if self.log else ""
        step = f", steps of {self.step:g}" if self.step and not (self.whole and self.step == 1) else ""
        return f"{self.low:g} to {self.high:g}{kind}{scale}{step}"


@dataclass(frozen=True)
class Space:
    """What is searched, and what stays.

    Args:
        parameters: At least one.
        fixed: Command-line arguments of every trial.
    """

    parameters: tuple[Choice | Number, ...]
    fixed: tuple[str, ...]

    def drawn(self, values: Mapping[str, Value]) -> list[str]:
        """Command-line arguments of one trial without those of every trial.

        Args:
            values: By key.
        """
        return [parameter.override(values[parameter.key]) for parameter in self.parameters]

    def points(self) -> Iterator[dict[str, Value]]:
        """Every combination; none if a parameter has no end of values."""
        axes = [parameter.grid() or () for parameter in self.parameters]
        for values in itertools.product(*axes):
            yield {p.key: value for p, value in zip(self.parameters, values, strict=True)}


def read_space(params: Mapping[str, Any], arguments: Sequence[str], loader: ConfigLoader | None = None) -> Space:
    """The space of a search.

    Args:
        params: From a yaml file: text as on the command line, a list of choices, or a fixed value.
        arguments: The command line, which overrules `params`.
        loader: Hydra's, for glob(*).

    Raises:
        ConfigError: Naming every mistake.
    """
    overrides = _parsed([*(f"{key}={_text(value)}" for key, value in params.items()), *arguments], loader)
    latest = {override.get_key_element(): override for override in overrides}
    parameters, fixed, mistakes = [], [], []
    for key, override in latest.items():
        if not override.is_sweep_override():
            fixed.append(f"{key}={override.get_value_element_as_str()}" if not override.is_delete() else key)
            continue
        try:
            parameters.append(_parameter(override))
        except ValueError as error:
            mistakes.append(f"{key}: {error}")
    if not parameters and not mistakes:
        mistakes.append(
            "Nothing to search: no key has several values. Give at least one, such as "
            "'optim.lr=tag(log,interval(1e-4,1e-2))' or 'loss=choice(dice_ce,focal)'."
        )
    if mistakes:
        raise ConfigError(mistakes)
    return Space(tuple(parameters), tuple(fixed))


def _parsed(lines: Sequence[str], loader: ConfigLoader | None) -> list[Override]:
    try:
        return OverridesParser.create(config_loader=loader).parse_overrides(list(lines))
    except HydraException as error:
        hint = "In a shell, put quotes around brackets: 'optim.lr=interval(1e-4,1e-2)'."
        raise ConfigError([f"{str(error).splitlines()[0]} {hint}"]) from None


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"choice({','.join(str(item) for item in value)})"
    return "null" if value is None else str(value)


def _parameter(override: Override) -> Choice | Number:
    """Raises ValueError, without the key in its message."""
    key, value = override.get_key_element(), override.value()
    name = override.key_or_group
    if is_machine_setting(name):
        raise ValueError("a path or a setting of the machine changes no score, so there is nothing to search.")
    if name == "seed":
        raise ValueError(
            "a search over seeds finds the luckiest one, not the best network. Search with one seed, then compare the "
            "best trial with several (-m seed=0,1,2, without hydra/sweeper=optuna)."
        )
    log = isinstance(value, Sweep) and _is_log(value.tags)
    if isinstance(value, IntervalSweep):
        return _interval(key, value, log=log)
    if override.is_range_sweep():
        return _range(key, override, log=log)
    values = tuple(dict.fromkeys(override.sweep_string_iterator()))
    if log:
        raise ValueError("tag(log, ...) needs an interval.")
    if not values:
        raise ValueError("there is nothing to choose from.")
    return Choice(key, values)


def _is_log(tags: set[str]) -> bool:
    unknown = sorted(tags - {"log"})
    if unknown:
        raise ValueError(
            f"the tag {unknown[0]!r} means nothing here. {did_you_mean(unknown[0], ['log'], otherwise='Known')}"
        )
    return "log" in tags


def _interval(key: str, value: IntervalSweep, *, log: bool) -> Number:
    assert value.start is not None
    assert value.end is not None
    low, high = float(value.start), float(value.end)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"an interval goes from a lower to a higher number, not from {low:g} to {high:g}.")
    if log and low <= 0:
        raise ValueError(f"on a logarithmic scale an interval begins above 0, not at {low:g}.")
    return Number(key, low, high, whole=isinstance(value.start, int) and isinstance(value.end, int), log=log)


def _range(key: str, override: Override, *, log: bool) -> Number:
    if log:
        raise ValueError("a range has equal steps; for ratios use tag(log,interval(a,b)) or list the values.")
    try:
        values = [value for value in override.sweep_iterator() if isinstance(value, int | float)]
    except HydraException as error:
        raise ValueError(str(error)) from None
    if not values:
        raise ValueError("the range is empty; its end is not part of it.")
    low, high = (float(f"{end:.10g}") for end in (min(values), max(values)))  # Hydra adds up 0.1 + 0.1 + ...
    step = (high - low) / (len(values) - 1) if len(values) > 1 else 1.0
    return Number(key, low, high, whole=all(isinstance(v, int) for v in values), step=float(f"{step:.10g}"))

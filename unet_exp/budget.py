"""Equal compute: the width at which a network costs what a budget says.

Two networks are compared fairly only if neither may compute, hold or remember more than the other. ``budget=s`` solves
one argument of the network, its number of channels, so that the network meets the budget at a reference input. The cost
is counted on the network itself (:mod:`unet_exp.cost`), never looked up, so that any network can be given a budget.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from hydra.errors import InstantiationException
from scipy.optimize import brentq
from torch import nn

from unet_exp.bounds import PositiveFloat, PositiveInt
from unet_exp.check import locate
from unet_exp.cost import count_gmacs, count_parameters, count_sample_bytes, count_state_bytes
from unet_exp.errors import ConfigError
from unet_exp.instantiate import Config, build
from unet_exp.run.folder import RunFolder
from unet_exp.run.identity import budget_of
from unet_exp.signature import call_mistakes

_START, _NARROWEST, _WIDEST = 16.0, 1.0, 4096.0
"""Channels: where the search begins, always the same so that its result depends on nothing else, and its limits."""

_CLOSE = 0.001
"""Relative distance from the budget at which the search ends; rounded widths seldom come nearer."""

_DIGITS = 4
"""Significant digits of a width, so that the configuration stays readable."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a network may cost at the reference input, a batch of square images.

    Args:
        by: Which of the three costs is met; the other two follow.
        gmacs: Multiply-accumulates of a forward pass of one image, in 10^9.
        million_parameters: Trainable parameters, in 10^6.
        memory_gib: Estimated peak of a training step with Adam in 32 bits, see :mod:`unet_exp.cost`, in GiB.
        image_size: Side of the reference images, in pixels.
        batch_size: Reference images of a training step; matters for the memory alone.
        width_key: Argument of the network that is solved.
        tolerance: Greatest relative distance from the budget.
    """

    by: Literal["macs", "params", "memory"] = "macs"
    gmacs: PositiveFloat
    million_parameters: PositiveFloat
    memory_gib: PositiveFloat
    image_size: PositiveInt = 256
    batch_size: PositiveInt = 8
    width_key: str = "base_channels"
    tolerance: PositiveFloat = 0.03

    @property
    def target(self) -> float:
        """The amount that is met."""
        return {"macs": self.gmacs, "params": self.million_parameters, "memory": self.memory_gib}[self.by]

    def amount(self, number: float) -> str:
        """An amount with its unit, for people."""
        size = f"{self.image_size}x{self.image_size}"
        unit = {
            "macs": f"GMACs at {size}",
            "params": "million parameters",
            "memory": f"GiB in a training step of {self.batch_size} images of {size}",
        }[self.by]
        return f"{number:.4g} {unit}"

    def cost(self, network: nn.Module, in_channels: int) -> float:
        """What a network on the meta device costs, in the unit of the target."""
        size = (self.image_size, self.image_size)
        match self.by:
            case "macs":
                return count_gmacs(network, in_channels, size)
            case "params":
                return count_parameters(network) / 1e6
            case "memory":
                activations = self.batch_size * count_sample_bytes(network, in_channels, size)
                return (count_state_bytes(network) + activations) / 2**30


def within_budget(config: Config, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration with the width that meets its budget; unchanged without one.

    A run that is continued keeps the width it has.

    Args:
        config: The plain, resolved configuration.
        overrides: The command line, where the width must not be given besides.

    Raises:
        ConfigError: If the network has no such argument, or cannot meet the budget.
    """
    if not budget_of(config):
        return dict(config)
    budget: Budget = build(config, "budget")
    key = f"model.{budget.width_key}"
    if any(override.partition("=")[0].lstrip("+") == key for override in overrides):
        raise ConfigError([f"{key}: the budget decides it. Leave {key} out, or choose budget=none."])
    width = _width_of_continued(config, budget) or solve_width(config, budget)
    return _with_width(config, budget, width)


def describe_budget(config: Config) -> str:
    """The budget and the width that meets it, for people; empty without a budget."""
    if not budget_of(config):
        return ""
    budget: Budget = build(config, "budget")
    return f"{budget.amount(budget.target)}: {budget.width_key}={config['model'][budget.width_key]}"


def solve_width(config: Config, budget: Budget) -> float:
    """The width at which the network of a configuration costs what the budget says.

    Args:
        config: The plain, resolved configuration.
        budget: What it may cost.

    Returns:
        The width, a whole number where the network takes no other.

    Raises:
        ConfigError: If the network has no such argument, or no width is within the tolerance.
    """
    whole = _takes_whole_numbers_only(config["model"], budget)
    tried: dict[float, float] = {}

    def measure(width: float) -> float:
        width = round(width) if whole else float(f"{width:.{_DIGITS}g}")
        if width not in tried:
            tried[width] = _cost(_with_width(config, budget, _tidy(width)), budget)
        return tried[width]

    _search(measure, budget.target)
    width = min(tried, key=lambda width: abs(math.log(tried[width] / budget.target)))
    if abs(tried[width] / budget.target - 1) > budget.tolerance:
        raise ConfigError([_out_of_reach(config["model"], budget, tried, width)])
    return _tidy(width)


def _search(measure: Callable[[float], float], target: float) -> None:
    """Measure widths nearer and nearer to the target: the cost is close to a power of the width."""

    def distance(log_width: float) -> float:
        apart = math.log(measure(math.exp(log_width)) / target)
        return 0.0 if abs(apart) < _CLOSE else apart

    low = high = _START
    while measure(low) > target and low > _NARROWEST:
        low = max(_NARROWEST, 0.95 * low * math.sqrt(target / measure(low)))
    while measure(high) < target and high < _WIDEST:
        high = min(_WIDEST, high * max(1.05 * math.sqrt(target / measure(high)), 1.2))
    if low < high and distance(math.log(low)) < 0 < distance(math.log(high)):
        # A step of the rounded widths is seldom smaller than this tolerance.
        brentq(distance, math.log(low), math.log(high), xtol=5e-4, maxiter=50, disp=False)


def _with_width(config: Config, budget: Budget, width: float) -> dict[str, Any]:
    return {**config, "model": {**config["model"], budget.width_key: width}}


def _tidy(width: float) -> float:
    """Whole numbers without a point, as people write them."""
    return int(width) if width == int(width) else width


def _cost(config: Config, budget: Budget) -> float:
    try:
        return budget.cost(_build_on_meta(config), config["data"]["in_channels"])
    except ValueError as error:
        raise ConfigError([f"budget.image_size: the network does not take the reference images. {error}"]) from None


def _build_on_meta(config: Config) -> nn.Module:
    """The network of a configuration without memory for its weights."""
    try:
        with torch.device("meta"):
            network: nn.Module = build(config, "model")
    except (InstantiationException, NotImplementedError, RuntimeError):
        network = build(config, "model")  # its constructor looks at numbers, which the meta device has not
    return network.to("meta")


def _takes_whole_numbers_only(model: Mapping[str, Any], budget: Budget) -> bool:
    """Whether the argument is annotated as a whole number.

    Raises:
        ConfigError: If there is no such argument, or it is no number.
    """
    target, key = locate(model["_target_"]), budget.width_key
    mistakes = [list(call_mistakes("model", target, {key: value}, partial=True)) for value in (_START + 0.5, 16)]
    if mistakes[0] and mistakes[1]:
        raise ConfigError([f"budget.width_key: the budget is to be met by an argument {key!r}. {mistakes[1][0]}"])
    return bool(mistakes[0])


def _out_of_reach(model: Mapping[str, Any], budget: Budget, tried: Mapping[float, float], nearest: float) -> str:
    name = str(model["_target_"]).rpartition(".")[2]
    at = f"{budget.width_key}={_tidy(nearest)}"
    amount, wanted = budget.amount(tried[nearest]), budget.amount(budget.target)
    if nearest == min(tried) and tried[nearest] > budget.target:
        reached = f"the smallest it can be is {amount} ({at})"
    elif nearest == max(tried) and tried[nearest] < budget.target:
        reached = f"the largest it can be is {amount} ({at})"
    else:
        reached = f"the nearest it can be is {amount} ({at}), and budget.tolerance is {budget.tolerance:g}"
        return f"budget: {name} cannot meet {wanted}: {reached}. Raise it, or choose another budget or budget=none."
    return f"budget: {name} cannot meet {wanted}: {reached}. Choose another budget, or budget=none."


def _width_of_continued(config: Config, budget: Budget) -> float | None:
    """The width of the run that is continued, unless that has another budget."""
    if not config["resume"]:
        return None
    saved = RunFolder.open(Path(config["resume"])).config()
    return saved["model"].get(budget.width_key) if budget_of(saved) == budget_of(config) else None

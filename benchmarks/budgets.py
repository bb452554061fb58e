"""Widths and costs of every network at every budget, and how far the estimate of memory is from a real training step.

python -m benchmarks.budgets                       # the table of docs/budget.md: counted, so the same on any machine
python -m benchmarks.budgets memory --budget s     # steps of a training on this machine's CPU, Linux only
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks._step_memory import network_of, solved_config, step_memory_in_process
from benchmarks._timing import table
from unet_exp.cost import NetworkCost, measure_cost
from unet_exp.errors import UserError
from unet_exp.locations import CONFIG_FOLDER

BUDGETS = ("xs", "s", "m", "l")
SIDE, BATCH = 256, 8
"""The reference input of conf/budget."""


@dataclass(frozen=True)
class Solved:
    """A network that meets a budget.

    Args:
        model: File in conf/model.
        budget: File in conf/budget.
        width: Its channels.
        cost: At the reference input, tissue of five classes.
    """

    model: str
    budget: str
    width: float
    cost: NetworkCost


def model_names() -> list[str]:
    """Every network of conf/model."""
    return sorted(path.stem for path in (Path(CONFIG_FOLDER) / "model").glob("*.yaml"))


def solve(model: str, budget: str) -> Solved:
    """The width of a network at a budget, and what it costs then; errors as in `solved_config`."""
    config = solved_config(model, budget)
    cost = measure_cost(network_of(config), config["data"]["in_channels"], (SIDE, SIDE))
    return Solved(model, budget, config["model"][config["budget"]["width_key"]], cost)


def solved_table(solutions: Sequence[Solved]) -> str:
    """The networks as a Markdown table."""
    rows = [
        (
            one.budget,
            one.model,
            f"{one.width:g}",
            f"{one.cost.parameters / 1e6:.2f}",
            f"{one.cost.gmacs:.2f}",
            f"{one.cost.training_memory_mb(BATCH) / 1024:.2f}",
        )
        for one in solutions
    ]
    return table(("budget", "network", "base_channels", "parameters, 10^6", "GMACs", "memory, GiB"), rows)


def solutions(models: Sequence[str], budgets: Sequence[str]) -> Iterator[Solved]:
    """Every network at every budget, as far as it can be built here and meet it; says which cannot."""
    for budget in budgets:
        for model in models:
            try:
                yield solve(model, budget)
            except UserError as error:
                sys.stderr.write(f"left out, {model} at {budget}: {error}\n")


def memory_table(models: Sequence[str], budget: str, batch: int) -> str:
    """Estimated and measured peak of a training step on the CPU."""
    rows = []
    for one in solutions(models, [budget]):
        estimated, measured = one.cost.training_memory_mb(batch), step_memory_in_process(one.model, budget, SIDE, batch)
        rows.append((one.model, f"{estimated:.0f}", f"{measured:.0f}", f"{estimated / measured - 1:+.0%}"))
    return table(("network", "estimated, MiB", "measured, MiB", "estimate is off by"), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("widths", "memory"), nargs="?", default="widths")
    parser.add_argument("--model", nargs="+", default=model_names(), help="files in conf/model (default: all)")
    parser.add_argument("--budget", nargs="+", default=list(BUDGETS), help="files in conf/budget (default: all)")
    parser.add_argument("--batch", type=int, default=BATCH, help="images of the step that is measured (default: 8)")
    options = parser.parse_args(arguments)
    if options.what == "widths":
        print(solved_table(list(solutions(options.model, options.budget))))
        return
    for budget in options.budget:
        print(
            f"{budget}, {options.batch} images of {SIDE}x{SIDE}\n\n{memory_table(options.model, budget, options.batch)}"
        )


if __name__ == "__main__":
    main()

"""Contestants timed in turns, so that whatever else the machine does hits all of them alike."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Batches = Iterator[Any]
"""Endless batches, ready for the device."""


@dataclass
class Contestant:
    """One way to make training batches.

    Args:
        name: For the table.
        start: Opens everything and gives endless batches.
        samples: Samples of a batch.
    """

    name: str
    start: Callable[[], Batches]
    samples: int
    rates: list[float] = field(default_factory=list, init=False)
    """Samples per second, one per repetition."""

    @property
    def rate(self) -> float:
        """Median of the repetitions."""
        return statistics.median(self.rates)


def time_in_turns(contestants: Sequence[Contestant], *, repetitions: int, seconds: float) -> None:
    """Fill the `rates` of all contestants: A B C A B C ...

    Args:
        contestants: At least one.
        repetitions: How often each is timed, after a first time that does not count.
        seconds: How long each time takes; a contestant slower than that makes one batch.
    """
    batches = {contestant.name: contestant.start() for contestant in contestants}
    counts = {}
    for contestant in contestants:
        next(batches[contestant.name])
        rate = batches_per_second(batches[contestant.name], seconds)
        counts[contestant.name] = max(1, round(rate * seconds))
    for _ in range(repetitions):
        for contestant in contestants:
            count = counts[contestant.name]
            start = time.perf_counter()
            for _ in range(count):
                next(batches[contestant.name])
            contestant.rates.append(count * contestant.samples / (time.perf_counter() - start))


def batches_per_second(batches: Batches, seconds: float) -> float:
    """Batches per second, over `seconds`."""
    start, count = time.perf_counter(), 0
    while not count or time.perf_counter() - start < seconds:
        next(batches)
        count += 1
    return count / (time.perf_counter() - start)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join(["---", *["---:"] * (len(header) - 1)]) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def rate_table(contestants: Sequence[Contestant], *, reference: Contestant, unit: str) -> str:
    """Median, range, and how many times as fast the reference is: the median of the ratios within each turn."""
    rows = [
        (
            contestant.name,
            _rounded(contestant.rate),
            f"{_rounded(min(contestant.rates))} to {_rounded(max(contestant.rates))}",
            f"{1000 / contestant.rate:.2f}",
            f"{_ratio(reference, contestant):.2f}",
        )
        for contestant in contestants
    ]
    return table(("", unit, "range", "ms each", "ours is ... times as fast"), rows)


def _ratio(reference: Contestant, contestant: Contestant) -> float:
    return statistics.median(own / other for own, other in zip(reference.rates, contestant.rates, strict=True))


def _rounded(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 20 else f"{rate:.1f}"

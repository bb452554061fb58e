"""Numbers and answers as people read them."""

import math
from collections.abc import Sequence

from unet_exp.reporting.comparison import Pair, Standing
from unet_exp.statistics.bootstrap import Interval

NOTHING = "–"
PART_NAMES = {"train": "training", "val": "validation", "test": "test"}
_NAMED = 3
"""So many models are named in the sentence on the leading one; more are counted."""


def score(value: float | None) -> str:
    """Three decimals, a dash where there is no value."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.3f}"


def signed(value: float | None) -> str:
    """Three decimals with a sign, a true minus."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def probability(value: float) -> str:
    """A p-value, never rounded to 0."""
    if not math.isfinite(value):
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def interval(found: Interval | None) -> str:
    """The ends of an interval, empty if there is none."""
    if found is None or not (math.isfinite(found.low) and math.isfinite(found.high)):
        return ""
    return f"{found.low:.3f} to {found.high:.3f}"


def millions(value: float) -> str:
    """A number of parameters."""
    if not math.isfinite(value):
        return NOTHING
    return f"{value / 1e6:.2f} M" if value >= 1e5 else f"{value:,.0f}"


def amount(value: float | None) -> str:
    """Three significant digits, thousands separated."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Hours and minutes, minutes and seconds, or seconds."""
    if not math.isfinite(seconds):
        return NOTHING
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def size(count: int) -> str:
    """A number of bytes."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def answer(pair: Pair, score_name: str) -> str:
    """One sentence: who is better by how much, or what difference would have been seen."""
    comparison = pair.comparison
    first, second, sign = pair.first, pair.second, 1
    if pair.verdict.answer == "worse":
        first, second, sign = pair.second, pair.first, -1
    low, high = sorted((sign * comparison.interval.low, sign * comparison.interval.high))
    level = f"{100 * comparison.interval.level:g} %"
    amounts = f"{signed(sign * comparison.difference)} {score_name} ({level} interval {signed(low)} to {signed(high)})"
    p = probability(pair.verdict.adjusted_p)
    amounts += f", p {p if p.startswith('<') else f'= {p}'} after correction"
    if pair.verdict.answer == "no difference shown":
        return (
            f"No difference shown between {first} and {second}: {amounts}. This data would have shown a difference of "
            f"{score(comparison.smallest_detectable)} or more in four of five trials."
        )
    return f"{first} is better than {second}: {amounts}."


def lead(standings: Sequence[Standing], pairs: Sequence[Pair], score_name: str) -> str:
    """The whole answer in two sentences: which model leads, and over which others that is shown.

    Args:
        standings: The best first.
        pairs: All pairs that were compared.
        score_name: What the models are ranked by, for example `Dice`.
    """
    best = standings[0]
    name, ends = best.entry.name, interval(best.interval)
    level = f" ({100 * best.interval.level:g} % interval {ends})" if best.interval and ends else ""
    words = f"{name} leads with {score_name} {score(best.value)}{level}."
    others = len(standings) - 1
    own = [pair for pair in pairs if name in (pair.first, pair.second)]
    beaten = [_other(pair, name) for pair in own if pair.verdict.answer != "no difference shown"]
    open_ones = [_other(pair, name) for pair in own if pair.verdict.answer == "no difference shown"]
    if beaten:
        words += f" It is better than {_listed(beaten, others, 'both others', f'all {others} others')}."
    if open_ones:
        every = f"any of the {others} others"
        words += f" No difference from {_listed(open_ones, others, 'either of the others', every)} is shown."
    return words


def _other(pair: Pair, name: str) -> str:
    return pair.second if pair.first == name else pair.first


def _listed(names: Sequence[str], others: int, both: str, every: str) -> str:
    """The names, or how many of all `others` they are; `both` and `every` stand for all of them."""
    if len(names) == others > 1:
        return both if others == 2 else every
    if len(names) > _NAMED:
        return f"{len(names)} of {others} others"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

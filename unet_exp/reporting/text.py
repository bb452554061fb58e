"""Numbers and answers as people read them."""

import math

from unet_exp.reporting.comparison import Pair
from unet_exp.statistics.bootstrap import Interval

NOTHING = "–"


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
    if pair.verdict.answer == "no difference shown":
        return (
            f"No difference shown between {first} and {second}: {amounts}. This data would have shown a difference of "
            f"{score(comparison.smallest_detectable)} or more in four of five trials."
        )
    p = probability(pair.verdict.adjusted_p)
    return f"{first} is better than {second}: {amounts}, p {p if p.startswith('<') else f'= {p}'} after correction."

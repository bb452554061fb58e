"""The number of channels at each level of a network whose width is any positive number.

Compute grows with the square of the width, so that whole numbers are too coarse for an exact budget: from a base of 8
to one of 9 it grows by a quarter. With a base of 8.4 only some of the levels get one channel more.
"""


def level_widths(base_channels: float, depth: int, *, cap: float | None = None) -> list[int]:
    """Channels of levels 0 to `depth`, fine to coarse: doubled at every level, then rounded.

    Args:
        base_channels: Channels at full resolution.
        depth: How often the resolution is halved.
        cap: Most channels of a level, as a multiple of `base_channels`; None for no limit.
    """
    factors = [2**level if cap is None else min(2**level, cap) for level in range(depth + 1)]
    return [max(1, int(base_channels * factor + 0.5)) for factor in factors]

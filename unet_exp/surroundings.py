"""How data and network agree on the surroundings of a patch: what conf/ computes when it is composed.

A network asks for surroundings by `model.context_factor`; datasets of patches then serve them, and the network and the
inference are told how far they reach. Values of a wrong kind count as absent here; the check of the configuration names
them.
"""

from collections.abc import Sequence
from numbers import Real
from typing import Any, TypeGuard


def context_mpp(mpp: float | None, factor: int | None) -> list[float]:
    """Resolutions of the surroundings that a network asks for, in µm per pixel.

    Args:
        mpp: Resolution of the patches; None if it is unknown, and then there are no surroundings.
        factor: How many times coarser the network wants them; 0 or None if it wants none.
    """
    return [mpp * factor] if _is_number(mpp) and _is_number(factor) else []


def context_margin(patch_size: int, mpp: float | None, served: Sequence[float] | None, factor: int) -> int:
    """Pixels around a patch, on each side, that its surroundings show.

    Args:
        patch_size: Side of a patch; surroundings have as many pixels, each `factor` times coarser.
        mpp: Resolution of the patches.
        served: Resolutions that the dataset serves.
        factor: What the network wants.

    Returns:
        0 where the dataset does not serve it: the network then looks at a coarser version of the patch itself.
    """
    if not (_is_number(patch_size) and _is_number(mpp) and _is_number(factor)):
        return 0
    resolutions = served if isinstance(served, Sequence) else ()
    is_served = any(_is_number(coarse) and abs(coarse / mpp - factor) < 1e-6 for coarse in resolutions)
    return int((factor - 1) * patch_size // 2) if is_served else 0


def window_alignment(depth: int, factor: int | None) -> int:
    """Multiples of how many pixels windows begin at: where a network halves the whole image, and its surroundings.

    Args:
        depth: How often the network halves its input.
        factor: How many times coarser its surroundings are; 0 or None if it has none.

    Returns:
        At least 16, which suits the networks that do not say how deep they are.
    """
    if not isinstance(depth, int):
        return 16
    coarser = factor if isinstance(factor, int) and factor else 1
    return max(16, int(2**depth) * coarser)


def _is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a number other than zero."""
    return isinstance(value, Real) and bool(value)

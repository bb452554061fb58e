"""How data and network agree on the surroundings of a patch: what conf/ computes when it is composed.

A network asks for surroundings by `model.context_factor`; datasets of patches then serve them, and the network and the
inference are told how far they reach.
"""

from collections.abc import Sequence


def context_mpp(mpp: float | None, factor: int | None) -> list[float]:
    """Resolutions of the surroundings that a network asks for, in µm per pixel.

    Args:
        mpp: Resolution of the patches; None if it is unknown, and then there are no surroundings.
        factor: How many times coarser the network wants them; 0 or None if it wants none.
    """
    return [mpp * factor] if mpp and factor else []


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
    is_served = mpp and factor and any(abs(coarse / mpp - factor) < 1e-6 for coarse in served or ())
    return (factor - 1) * patch_size // 2 if is_served else 0

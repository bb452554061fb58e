"""How scores are summarised; apart from the code that does it, which imports torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Interval, Le

from unet_exp.bounds import NonNegativeInt, PositiveFloat

ClusterChoice = Literal["auto", "image", "patient", "institution"]


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How scores are summarised.

    Args:
        draws: Resamples of the bootstrap.
        level: Nominal coverage of the intervals.
        method: `percentile`, or `bca`: corrected for bias and skewness.
        seed: Seed of the bootstrap.
        cluster_by: What is resampled as a whole; `auto` takes the patient where one has several images, else the image.
        surface_tolerance: Of the surface Dice; in mm for volumes, in µm if pictures are scored at a physical
            resolution, else in pixels.
    """

    draws: Annotated[int, Ge(100), Le(1_000_000)] = 10_000
    level: Annotated[float, Interval(gt=0.5, lt=1)] = 0.95
    method: Literal["percentile", "bca"] = "percentile"
    seed: NonNegativeInt = 0
    cluster_by: ClusterChoice = "auto"
    surface_tolerance: PositiveFloat = 2.0


@dataclass(frozen=True, kw_only=True)
class StatisticsBlock:
    """The block of evaluate.yaml that says how scores are summarised."""

    statistics: EvaluationSettings

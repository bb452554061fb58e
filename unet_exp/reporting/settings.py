"""What the report may be asked for."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Interval, Le

from unet_exp.bounds import NonNegativeInt, PositiveInt


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """The keys of report.yaml.

    Args:
        runs: Globs, run folders, or folders of run folders.
        output: Folder of the report; null means `report` beside the runs.
        title: Heading of the page; null asks which model is better, or names the only one.
        part: Which part is compared; `auto` takes test where a run has been scored on it, else val.
        score: What the models are ranked and compared by.
        baseline: Name of the model that all others are compared with; null compares every pair, or, of many models,
            each with the leading one.
        level: Confidence level of the intervals; 1 - level is the significance level of the comparisons.
        draws: Draws of the bootstrap.
        seed: Seed of the bootstrap.
        all_pairs: Up to this many models every pair is compared.
        case_runs: At most this many runs show their pictures on the page.
        picture_side: Longest side of a picture on the page, in pixels.
    """

    runs: str | list[str]
    output: str | None
    title: str | None
    part: Literal["auto", "train", "val", "test"]
    score: Literal["dice", "iou"]
    baseline: str | None
    level: Annotated[float, Interval(gt=0.5, lt=1)]
    draws: Annotated[int, Ge(100), Le(1_000_000)]
    seed: NonNegativeInt
    all_pairs: PositiveInt
    case_runs: NonNegativeInt
    picture_side: Annotated[int, Ge(64), Le(1024)]

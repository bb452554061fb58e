"""What is measured of each case beside its confusion matrix while a part is scored: calibration, boundaries."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unet_exp.calibration import CalibrationLayout, calibration_row
from unet_exp.case_table import CaseTable
from unet_exp.data._patch_source import PatchSource
from unet_exp.data._source import ImageSource
from unet_exp.data._volume_source import VolumeSource
from unet_exp.distance import boundary_scores


@dataclass(frozen=True)
class BoundaryRule:
    """How boundaries are compared.

    Args:
        foreground: Class id of the structure.
        tolerance: Of the surface Dice, in `unit`.
        spacing: Side of a scored pixel in `unit`.
        unit: `px` or `µm`.
    """

    foreground: int
    tolerance: float
    spacing: float
    unit: str


def boundary_rule(source: ImageSource, tolerance: float) -> BoundaryRule | None:
    """How boundaries of a dataset are compared; None where they are not.

    They are compared in pictures with a single scored structure. Outlines in a mosaic of regions say little, and those
    of single slices are not the surface of a volume.

    Args:
        source: The dataset.
        tolerance: Of the surface Dice, in µm if the dataset is scored at a physical resolution, else in pixels.
    """
    if len(source.scored_classes) != 1 or isinstance(source, VolumeSource):
        return None
    mpp = source.score_mpp if isinstance(source, PatchSource) else None
    return BoundaryRule(source.scored_classes[0], tolerance, spacing=mpp or 1.0, unit="µm" if mpp else "px")


@dataclass(frozen=True)
class Details:
    """What was measured of N cases, in the order of their indexes.

    Args:
        layout: What the rows of `calibration` consist of.
        calibration: (N, width) float64.
        boundary: HD95 and surface Dice, (N, 2) float64; NaN without a labelled pixel. None where it was not measured.
        rule: How boundaries were compared.
    """

    layout: CalibrationLayout
    calibration: Tensor
    boundary: Tensor | None = None
    rule: BoundaryRule | None = None


@dataclass
class CaseObserver:
    """Looks at every case that a task scores, and gathers what it saw over all processes.

    Args:
        num_outputs: Channels of the logits.
        ignore_index: Label of the pixels that do not count.
        rule: How boundaries are compared, None for not at all.
        device: Where the numbers are kept until they are gathered.
    """

    num_outputs: int
    ignore_index: int
    rule: BoundaryRule | None
    device: torch.device
    _calibration: CaseTable = field(init=False)
    _boundary: CaseTable = field(init=False)

    def __post_init__(self) -> None:
        self._calibration = CaseTable(CalibrationLayout(self.num_outputs).width).to(self.device)
        self._boundary = CaseTable(2).to(self.device)

    def __call__(self, logits: Tensor, prediction: Tensor, sample: dict[str, Any]) -> None:
        """Measure one view of a case.

        Args:
            logits: (1, K, H, W), at the resolution that is scored.
            prediction: Class ids (H, W).
            sample: Holds `mask` (H, W), `index` and `view`.
        """
        mask, place = sample["mask"], (sample["index"], sample["view"])
        row = calibration_row(logits[0].to(self.device), mask.to(self.device), ignore_index=self.ignore_index)
        self._calibration.update(row, *place)
        if self.rule is not None:
            self._boundary.update(self._compare(prediction, mask, self.rule), *place)

    def _compare(self, prediction: Tensor, mask: Tensor, rule: BoundaryRule) -> Tensor:
        valid = mask != self.ignore_index
        if not valid.any():
            return torch.full((2,), torch.nan, dtype=torch.float64)
        found, present = ((ids == rule.foreground) & valid for ids in (prediction, mask))
        scores = boundary_scores(
            found.cpu().numpy(), present.cpu().numpy(), tolerance=rule.tolerance, spacing=rule.spacing
        )
        return torch.tensor(scores, dtype=torch.float64)

    def gather(self) -> Details:
        """What all processes saw; every process must call it."""
        boundary = self._boundary.compute() if self.rule else None
        return Details(CalibrationLayout(self.num_outputs), self._calibration.compute(), boundary, self.rule)


def observing_device(device: torch.device) -> torch.device:
    """Where sums are kept: with the network, but on the CPU where it has no float64."""
    return torch.device("cpu") if device.type == "mps" else device

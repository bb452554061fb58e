"""What is measured of each case beside its confusion matrix while a part is scored: calibration, boundaries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unet_exp.boundary import BoundaryRule, PictureBoundaries, VolumeBoundaries
from unet_exp.calibration import CalibrationLayout, calibration_row
from unet_exp.case_table import CaseTable
from unet_exp.data._voxel_spacing import Spacing


@dataclass(frozen=True)
class Details:
    """What was measured of N cases, in the order of their indexes.

    Args:
        layout: What the rows of `calibration` consist of.
        calibration: (N, width) float64.
        boundary: HD95 and surface Dice of S structures, (N, S, 2) float64; NaN without a labelled pixel. None where it
            was not measured.
        rule: How boundaries were compared.
    """

    layout: CalibrationLayout
    calibration: Tensor
    boundary: Tensor | None = None
    rule: BoundaryRule | None = None


class CaseObserver:
    """Looks at every case that a task scores, and gathers what it saw over all processes.

    Args:
        num_outputs: Channels of the logits.
        ignore_index: Label of the pixels that do not count.
        rule: How boundaries are compared, None for not at all.
        device: Where the numbers are kept until they are gathered.
        spacings: For volumes, the size of the voxels of each case, by its index.
    """

    def __init__(
        self,
        *,
        num_outputs: int,
        ignore_index: int,
        rule: BoundaryRule | None,
        device: torch.device,
        spacings: Sequence[Spacing] = (),
    ) -> None:
        self.device = device
        self.ignore_index = ignore_index
        self._layout = CalibrationLayout(num_outputs)
        self._calibration = CaseTable(self._layout.width).to(device)
        self._boundaries: PictureBoundaries | VolumeBoundaries | None = None
        if rule is not None and rule.is_of_volumes:
            self._boundaries = VolumeBoundaries(rule, ignore_index, device, spacings)
        elif rule is not None:
            self._boundaries = PictureBoundaries(rule, ignore_index, device)

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
        if self._boundaries is not None:
            self._boundaries.update(prediction, mask, *place)

    def gather(self) -> Details:
        """What all processes saw; every process must call it."""
        calibration = self._calibration.compute()
        if self._boundaries is None:
            return Details(self._layout, calibration)
        return Details(self._layout, calibration, self._boundaries.gather(), self._boundaries.rule)


def observing_device(device: torch.device) -> torch.device:
    """Where sums are kept: with the network, but on the CPU where it has no float64."""
    return torch.device("cpu") if device.type == "mps" else device

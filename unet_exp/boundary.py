"""Boundaries of the cases of a part, compared while they are scored: pictures at once, volumes when all is seen."""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, distributed

from unet_exp.case_table import CaseTable
from unet_exp.data._patch_source import PatchSource
from unet_exp.data._source import ImageSource
from unet_exp.data._volume_source import VolumeSource
from unet_exp.data._voxel_spacing import Spacing
from unet_exp.distance import BoundaryScores, Mask, boundary_scores
from unet_exp.volume_distance import volume_boundary_scores

_Value = TypeVar("_Value")

# S structures, N cases, H x W pixels.


@dataclass(frozen=True)
class BoundaryRule:
    """How boundaries are compared.

    Args:
        classes: Class ids of the S structures.
        tolerance: Of the surface Dice, in `unit`.
        unit: `px`, `µm`, or `mm` for volumes.
        spacing: Side of a scored pixel of a picture in `unit`; voxels have the size that their file says.
    """

    classes: tuple[int, ...]
    tolerance: float
    unit: str
    spacing: float = 1.0

    @property
    def is_of_volumes(self) -> bool:
        """Whether the surface of a volume is compared rather than the outline of a picture."""
        return self.unit == "mm"

    def scores(self, compare: Callable[[int], BoundaryScores], absent: Callable[[int], bool]) -> Tensor:
        """HD95 and surface Dice of each structure, (2 * S,) float64.

        Of several structures, one that is in neither truth nor prediction has none (NaN), as it has no Dice.
        """
        none = BoundaryScores(np.nan, np.nan)
        several = len(self.classes) > 1
        rows = [none if several and absent(one) else compare(one) for one in self.classes]
        return torch.tensor(rows, dtype=torch.float64).flatten()


def boundary_rule(source: ImageSource, tolerance: float) -> BoundaryRule | None:
    """How boundaries of a dataset are compared; None where they are not.

    They are compared in pictures with a single scored structure, and in volumes. Outlines in a mosaic of regions say
    little.

    Args:
        source: The dataset.
        tolerance: Of the surface Dice: in mm for volumes, in µm if pictures are scored at a physical resolution, else
            in pixels.
    """
    classes = tuple(source.scored_classes)
    if isinstance(source, VolumeSource):
        return BoundaryRule(classes, tolerance, "mm")
    if len(classes) != 1:
        return None
    mpp = source.score_mpp if isinstance(source, PatchSource) else None
    return BoundaryRule(classes, tolerance, "µm" if mpp else "px", mpp or 1.0)


class PictureBoundaries:
    """Compares the boundaries of pictures.

    Args:
        rule: How.
        ignore_index: Label of the pixels that belong to no structure.
        device: Where numbers are kept until they are gathered.
    """

    def __init__(self, rule: BoundaryRule, ignore_index: int, device: torch.device) -> None:
        self.rule = rule
        self.ignore_index = ignore_index
        self._table = CaseTable(2 * len(rule.classes)).to(device)

    def update(self, prediction: Tensor, mask: Tensor, index: int, view: int) -> None:
        """Compare a picture's predicted class ids (H, W) with the true ones."""
        if not (mask != self.ignore_index).any():
            self._table.update(torch.full((self._table.width,), torch.nan, dtype=torch.float64), index, view)
            return
        found, present = _structures(prediction, mask, self.rule.classes, self.ignore_index)
        pairs = dict(zip(self.rule.classes, zip(found, present, strict=True), strict=True))

        def compare(one: int) -> BoundaryScores:
            return boundary_scores(*pairs[one], tolerance=self.rule.tolerance, spacing=self.rule.spacing)

        row = self.rule.scores(compare, lambda one: not any(mask.any() for mask in pairs[one]))
        self._table.update(row, index, view)

    def gather(self) -> Tensor:
        """HD95 and surface Dice of all cases of all processes, (N, S, 2); every process must call it."""
        return self._table.compute().view(-1, len(self.rule.classes), 2)


@dataclass(frozen=True)
class _Slice:
    """Predicted and true masks (2, S, H, W) of one slice, compressed, and whether it has a label at all."""

    shape: tuple[int, ...]
    content: bytes
    is_labelled: bool

    @classmethod
    def pack(cls, masks: Mask, *, is_labelled: bool) -> "_Slice":
        return cls(masks.shape, zlib.compress(np.packbits(masks).tobytes(), level=1), is_labelled)

    def unpack(self) -> Mask:
        bits = np.frombuffer(zlib.decompress(self.content), np.uint8)
        return np.unpackbits(bits, count=int(np.prod(self.shape))).reshape(self.shape).astype(bool)


class VolumeBoundaries:
    """Keeps the masks of slices, packed, until every process has seen its own; then compares volume by volume.

    The slices of a volume may lie with several processes. A volume takes about a megabyte until it is compared.

    Args:
        rule: How.
        ignore_index: Label of the voxels that belong to no structure.
        device: Where numbers are kept until they are gathered.
        spacings: Size of the voxels of each case, by its index.
    """

    def __init__(
        self, rule: BoundaryRule, ignore_index: int, device: torch.device, spacings: Sequence[Spacing]
    ) -> None:
        self.rule = rule
        self.ignore_index = ignore_index
        self.spacings = spacings
        self._table = CaseTable(2 * len(rule.classes)).to(device)
        self._slices: dict[int, dict[int, _Slice]] = {}

    def update(self, prediction: Tensor, mask: Tensor, index: int, view: int) -> None:
        """Keep a slice's predicted and true class ids (H, W)."""
        masks = np.stack(_structures(prediction, mask, self.rule.classes, self.ignore_index))
        is_labelled = bool((mask != self.ignore_index).any())
        self._slices.setdefault(index, {})[view] = _Slice.pack(masks, is_labelled=is_labelled)

    def gather(self) -> Tensor:
        """HD95 and surface Dice of all volumes of all processes, (N, S, 2); every process must call it."""
        rank, world_size = _rank_and_world_size()
        indexes = sorted({index for one in _gathered(list(self._slices)) for index in one})
        for number, index in enumerate(indexes):
            parts = _gathered(self._slices.pop(index, {}))
            if number % world_size == rank:
                self._table.update(self._compare({v: s for part in parts for v, s in part.items()}, index), index)
        return self._table.compute().view(-1, len(self.rule.classes), 2)

    def _compare(self, slices: Mapping[int, _Slice], index: int) -> Tensor:
        ordered = [slices[view] for view in sorted(slices)]
        if not any(one.is_labelled for one in ordered):
            return torch.full((self._table.width,), torch.nan, dtype=torch.float64)
        height, width = ordered[0].shape[-2:]

        def masks(which: int, one: int) -> Iterator[Mask]:
            position = self.rule.classes.index(one)
            return (packed.unpack()[which, position] for packed in ordered)

        def compare(one: int) -> BoundaryScores:
            return volume_boundary_scores(
                masks(0, one),
                masks(1, one),
                shape=(len(ordered), height, width),
                tolerance=self.rule.tolerance,
                spacing=self.spacings[index],
            )

        return self.rule.scores(compare, lambda one: not any(mask.any() for w in (0, 1) for mask in masks(w, one)))


def _structures(
    prediction: Tensor, mask: Tensor, classes: Sequence[int], ignore_index: int
) -> tuple[list[Mask], list[Mask]]:
    """Predicted and true masks (H, W) of each structure, without pixels that have no label."""
    valid = mask != ignore_index
    found, present = (
        [((ids == one) & valid.to(ids.device)).cpu().numpy() for one in classes] for ids in (prediction, mask)
    )
    return found, present


def _rank_and_world_size() -> tuple[int, int]:
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _gathered(value: _Value) -> list[_Value]:
    """The value of every process."""
    _, world_size = _rank_and_world_size()
    if world_size == 1:
        return [value]
    values: list[_Value | None] = [None] * world_size
    distributed.all_gather_object(values, value)
    return [one for one in values if one is not None]

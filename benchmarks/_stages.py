"""Where the time of one sample goes: the real loader with a clock at the entrance of every stage."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import albumentations

from benchmarks._ours import BATCH_SIZE, endless
from benchmarks._timing import batches_per_second, table
from unet_exp.augmentation.color import ColorJitter
from unet_exp.augmentation.symmetry import SquareSymmetry
from unet_exp.data import _dataset
from unet_exp.data._datamodule import SegmentationDataModule
from unet_exp.data._dataset import PatchDataset

_STAGES: list[tuple[Any, str, str]] = [
    (_dataset, "sample_generator", "random generator of the sample"),
    (PatchDataset, "place", "place: draw, count labelled pixels"),
    (albumentations.Compose, "set_random_state", "random state of the transforms"),
    (albumentations.Compose, "__call__", "pipeline around the transforms"),
    (SquareSymmetry, "__call__", "symmetry, reads the crop from the map"),
    (ColorJitter, "__call__", "colour jitter"),
    (_dataset, "make_batch", "written into the batch"),
]


class _Clock:
    """Seconds of each stage without those of the stages inside it."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inside: list[float] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Put a clock around every stage."""
        with ExitStack() as stack:
            for owner, attribute, stage in _STAGES:
                stack.enter_context(mock.patch.object(owner, attribute, self._timed(getattr(owner, attribute), stage)))
            yield

    def _timed(self, function: Any, stage: str) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inside.append(0.0)
            start = time.perf_counter()
            result = function(*args, **kwargs)
            elapsed = time.perf_counter() - start
            self.seconds[stage] += elapsed - self._inside.pop()
            if self._inside:
                self._inside[-1] += elapsed
            return result

        return timed


def stage_table(datamodule: SegmentationDataModule, *, seconds: float) -> str:
    """Microseconds per sample of every stage.

    Args:
        datamodule: Crops with the augmentation `color`.
        seconds: How long samples are made.
    """
    clock = _Clock()
    with clock.watched():
        batches = endless(datamodule)
        batches_per_second(batches, seconds)
        clock.seconds.clear()
        rate = batches_per_second(batches, seconds)
    count = rate * seconds * BATCH_SIZE
    total = seconds / count
    stages = {stage: s / count for stage, s in clock.seconds.items()}
    stages["everything else"] = total - sum(stages.values())
    rows = [(stage, f"{1e6 * s:.0f}", f"{100 * s / total:.0f} %") for stage, s in stages.items()]
    return table(("stage", "µs per crop", "share"), [*rows, ("sum", f"{1e6 * total:.0f}", "100 %")])

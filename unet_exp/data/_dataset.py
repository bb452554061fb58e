"""Training and evaluation samples as torch datasets."""

import random
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unet_exp.data._case import Case, Image, Labels
from unet_exp.data._sampling import SampleKey, sample_generator


class TrainSample(TypedDict):
    """A training sample; the default collation stacks them."""

    image: Tensor
    """(3, H, W) uint8."""
    mask: Tensor
    """(H, W) uint8 class ids."""


class EvaluationSample(TypedDict):
    """A whole case; image and mask may differ in size."""

    index: int
    """Position of the case in its part of the split."""
    image: Tensor
    """(3, h, w) uint8 at the network's resolution."""
    mask: Tensor
    """(H, W) uint8 class ids at the scored resolution."""


class TrainDataset(Dataset[TrainSample]):
    """Samples addressed by (epoch, index); everything random follows from that key and the seed.

    Args:
        augmentation: An albumentations pipeline; takes and returns `image` and `mask` (uint8).
        seed: Seed of the run.
    """

    def __init__(self, *, augmentation: Callable[..., dict[str, Any]], seed: int) -> None:
        self._augmentation = augmentation
        self._seed = seed

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples of an epoch."""

    @abstractmethod
    def draw(self, index: int, generator: np.random.Generator) -> tuple[Image, Labels]:
        """The sample before augmentation."""

    def __getitem__(self, key: SampleKey) -> TrainSample:
        generator = sample_generator(self._seed, key)
        image, labels = self.draw(key[1], generator)
        # albumentations keeps a random state that is copied into every worker, where all would repeat it; it is
        # replaced for each sample. One state is shared by all transforms: its own `set_random_seed` gives each
        # the same seed, and then blur, say, is only ever applied together with every likelier transform.
        python_state = random.Random(int(generator.integers(2**63)))
        self._augmentation.set_random_state(generator, python_state)  # type: ignore[attr-defined]
        augmented = self._augmentation(image=image, mask=labels)
        return {
            "image": channels_first(augmented["image"]),
            "mask": torch.from_numpy(augmented["mask"].copy()),
        }


class PatchDataset(TrainDataset):
    """Random square patches of large images.

    Args:
        pairs: Images (H, W, 3) and class ids (H, W).
        patch_size: Side of a patch in pixels.
        length: Patches of an epoch.
        min_valid_fraction: A patch with a smaller share of labelled pixels is drawn again.
        ignore_index: Class id of pixels without a label.
        augmentation: See `TrainDataset`.
        seed: See `TrainDataset`.
    """

    _TRIES = 20

    def __init__(
        self,
        pairs: Sequence[tuple[Image, Labels]],
        *,
        patch_size: int,
        length: int,
        min_valid_fraction: float,
        ignore_index: int,
        augmentation: Callable[..., dict[str, Any]],
        seed: int,
    ) -> None:
        super().__init__(augmentation=augmentation, seed=seed)
        self._pairs = [_pad_to(image, labels, patch_size, ignore_index) for image, labels in pairs]
        self._patch_size = patch_size
        self._length = length
        self._min_valid_fraction = min_valid_fraction
        self._ignore_index = ignore_index
        areas = np.array([np.count_nonzero(labels != ignore_index) for _, labels in self._pairs], np.float64)
        self._cumulative = np.cumsum(areas) / areas.sum()

    def __len__(self) -> int:
        return self._length

    def draw(self, index: int, generator: np.random.Generator) -> tuple[Image, Labels]:  # noqa: ARG002
        """Draw until enough of the patch is labelled; after some tries, the best one seen."""
        best: tuple[float, Image, Labels] | None = None
        for _ in range(self._TRIES):
            image, labels = self._random_patch(generator)
            fraction = float(np.mean(labels != self._ignore_index))
            if best is None or fraction > best[0]:
                best = fraction, image, labels
            if fraction >= self._min_valid_fraction:
                break
        assert best is not None
        return best[1], best[2]

    def _random_patch(self, generator: np.random.Generator) -> tuple[Image, Labels]:
        choice = int(np.searchsorted(self._cumulative, generator.random(), side="right"))
        image, labels = self._pairs[min(choice, len(self._pairs) - 1)]
        top = int(generator.integers(labels.shape[0] - self._patch_size + 1))
        left = int(generator.integers(labels.shape[1] - self._patch_size + 1))
        window = slice(top, top + self._patch_size), slice(left, left + self._patch_size)
        return image[window], labels[window]


class WholeImageDataset(TrainDataset):
    """Each image once per epoch.

    Args:
        pairs: Images (H, W, 3) and class ids (H, W), all of one size.
        augmentation: See `TrainDataset`.
        seed: See `TrainDataset`.
    """

    def __init__(
        self, pairs: Sequence[tuple[Image, Labels]], *, augmentation: Callable[..., dict[str, Any]], seed: int
    ) -> None:
        super().__init__(augmentation=augmentation, seed=seed)
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def draw(self, index: int, generator: np.random.Generator) -> tuple[Image, Labels]:  # noqa: ARG002
        """The image of that index."""
        return self._pairs[index]


class EvaluationDataset(Dataset[EvaluationSample]):
    """Whole cases, read when they are asked for.

    Args:
        cases: The cases of one part of the split.
        read: Reads image and class ids of a case.
    """

    def __init__(self, cases: Sequence[Case], read: Callable[[Case], tuple[Image, Labels]]) -> None:
        self._cases = cases
        self._read = read

    def __len__(self) -> int:
        return len(self._cases)

    def __getitem__(self, index: int) -> EvaluationSample:
        image, labels = self._read(self._cases[index])
        return {"index": index, "image": channels_first(image), "mask": torch.from_numpy(labels.copy())}


def channels_first(image: Image) -> Tensor:
    """(H, W, 3) array as a contiguous (3, H, W) tensor."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _pad_to(image: Image, labels: Labels, side: int, ignore_index: int) -> tuple[Image, Labels]:
    """Pad images smaller than a patch: the picture is mirrored, the added pixels carry no label."""
    bottom, right = max(0, side - labels.shape[0]), max(0, side - labels.shape[1])
    if not bottom and not right:
        return image, labels
    padding = (0, bottom), (0, right)
    mirrored = np.pad(image, (*padding, (0, 0)), mode="symmetric")
    return mirrored, np.pad(labels, padding, constant_values=ignore_index)

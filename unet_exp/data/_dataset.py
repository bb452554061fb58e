"""Training and evaluation samples as torch datasets."""

import random
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from unet_exp.data._batch import make_batch
from unet_exp.data._case import Case, Image, Labels
from unet_exp.data._context import ContextLevel
from unet_exp.data._patches import PatchPicker
from unet_exp.data._sampling import SampleKey, sample_generator
from unet_exp.data._store import StoredCase

Arrays = dict[str, NDArray[np.uint8]]
"""A sample before it becomes tensors: ``image`` (H, W, C), ``mask`` (H, W), and the same of context levels."""

TrainSample = dict[str, Tensor]
"""``image`` (C, H, W) uint8, ``mask`` (H, W) uint8 class ids; with context levels also ``image_x4`` and so on."""


class EvaluationSample(TypedDict):
    """A whole case, or one view of it; image and mask may differ in size."""

    index: int
    """Position of the case in its part of the split."""
    view: int
    """Which view of the case; pictures have one, volumes one per slice."""
    image: Tensor
    """(C, h, w) uint8 at the network's resolution."""
    mask: Tensor
    """(H, W) uint8 class ids at the scored resolution."""


class Augmentation(Protocol):
    """An albumentations pipeline, as far as it is used here."""

    def __call__(self, **arrays: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
        """Change a sample."""

    def set_random_state(self, generator: np.random.Generator, python_state: random.Random) -> None:
        """Replace what the next call draws from."""

    def add_targets(self, types: dict[str, str]) -> None:
        """Announce further arrays and whether each is an `image` or a `mask`."""


class TrainDataset(Dataset[TrainSample]):
    """Samples addressed by (epoch, index); everything random follows from that key and the seed.

    Args:
        augmentation: Changes image and mask alike.
        seed: Seed of the run.
    """

    def __init__(self, *, augmentation: Augmentation, seed: int) -> None:
        self._augmentation = augmentation
        self._seed = seed

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples of an epoch."""

    @abstractmethod
    def draw(self, index: int, generator: np.random.Generator) -> Arrays:
        """The sample before augmentation; its arrays are never written to."""

    @abstractmethod
    def place(self, index: int, generator: np.random.Generator) -> tuple[int, ...]:
        """Where `draw` takes a sample from: position of the case, then slice, top and left as far as there are."""

    def place_of(self, key: SampleKey) -> tuple[int, ...]:
        """Where the sample of a key comes from, see `place`."""
        return self.place(key[1], sample_generator(self._seed, key))

    def __getitem__(self, key: SampleKey) -> TrainSample:
        return {name: tensor[0] for name, tensor in self.__getitems__([key]).items()}

    def __getitems__(self, keys: Sequence[SampleKey]) -> dict[str, Tensor]:
        """The batch of several samples, each as `__getitem__` gives it; torch's loader asks for batches so."""
        return make_batch((self._sample(key) for key in keys), len(keys))

    def _sample(self, key: SampleKey) -> Arrays:
        generator = sample_generator(self._seed, key)
        return self.augment(self.draw(key[1], generator), generator)

    def augment(self, arrays: Arrays, generator: np.random.Generator) -> Arrays:
        """Change a sample by what the generator draws."""
        # albumentations keeps a random state that is copied into every worker, where all would repeat it; it is
        # replaced for each sample. One state is shared by all transforms: its own `set_random_seed` gives each
        # the same seed, and then blur, say, is only ever applied together with every likelier transform.
        python_state = random.Random(int(generator.integers(2**63)))
        self._augmentation.set_random_state(generator, python_state)
        augmented = self._augmentation(**arrays)
        return {name: augmented[name] for name in arrays}


class PatchDataset(TrainDataset):
    """Random square patches of large images.

    Args:
        cases: The images.
        picker: Chooses where patches are taken, see `PatchPicker`; it draws from the same cases.
        patch_size: Side of a patch in pixels.
        length: Patches of an epoch.
        min_valid_fraction: A patch with a smaller share of labelled pixels is drawn again.
        ignore_index: Class id of pixels without a label.
        contexts: Coarser levels; a sample holds the concentric crop of each.
        augmentation: See `TrainDataset`.
        seed: See `TrainDataset`.
    """

    _TRIES = 20

    def __init__(
        self,
        cases: Sequence[StoredCase],
        *,
        picker: PatchPicker,
        patch_size: int,
        length: int,
        min_valid_fraction: float,
        ignore_index: int,
        contexts: Sequence[ContextLevel] = (),
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        super().__init__(augmentation=augmentation, seed=seed)
        self._cases = cases
        self._picker = picker
        self._patch_size = patch_size
        self._length = length
        self._enough = max(min_valid_fraction, np.finfo(float).tiny)
        self._ignore_index = ignore_index
        self._contexts = contexts
        for context in contexts:
            augmentation.add_targets(context.target_types)

    def __len__(self) -> int:
        return self._length

    def draw(self, index: int, generator: np.random.Generator) -> Arrays:
        """The patch at a drawn place, and what lies around it."""
        choice, top, left = self.place(index, generator)
        case, window = self._cases[choice], self._window(top, left)
        arrays: Arrays = {"image": case.image[window], "mask": case.labels[window]}
        for context in self._contexts:
            arrays |= context.crop(choice, top, left, self._patch_size, self._ignore_index)
        return arrays

    def place(self, index: int, generator: np.random.Generator) -> tuple[int, int, int]:  # noqa: ARG002
        """Draw until enough of the patch is labelled; after some tries the best one, never one without a label."""
        best, best_fraction = (0, 0, 0), 0.0
        for _ in range(self._TRIES):
            place = self._picker.pick(generator)
            fraction = self._labelled_fraction(*place)
            if fraction > best_fraction:
                best, best_fraction = place, fraction
            if best_fraction >= self._enough:
                break
        return best if best_fraction else self._picker.pick_labelled(generator)

    def _labelled_fraction(self, choice: int, top: int, left: int) -> float:
        """Share of labelled pixels; counted from the top, and no further than until there are enough."""
        labels = self._cases[choice].labels[self._window(top, left)]
        band = -(-self._patch_size // 8)
        fraction, labelled = 0.0, 0
        for row in range(0, self._patch_size, band):
            labelled += int(np.count_nonzero(labels[row : row + band] != self._ignore_index))
            fraction = labelled / labels.size
            if fraction >= self._enough:
                break
        return fraction

    def _window(self, top: int, left: int) -> tuple[slice, slice]:
        return slice(top, top + self._patch_size), slice(left, left + self._patch_size)


class WholeImageDataset(TrainDataset):
    """Each image once per epoch.

    Args:
        cases: The images, all of one size.
        augmentation: See `TrainDataset`.
        seed: See `TrainDataset`.
    """

    def __init__(self, cases: Sequence[StoredCase], *, augmentation: Augmentation, seed: int) -> None:
        super().__init__(augmentation=augmentation, seed=seed)
        self._cases = cases

    def __len__(self) -> int:
        return len(self._cases)

    def place(self, index: int, generator: np.random.Generator) -> tuple[int]:  # noqa: ARG002
        """The image of that index."""
        return (index,)

    def draw(self, index: int, generator: np.random.Generator) -> Arrays:  # noqa: ARG002
        """The image of that index."""
        case = self._cases[index]
        # Copied, because a transform may write into a whole image in place, and the store is read-only.
        return {"image": case.image.copy(), "mask": case.labels.copy()}


class EvaluationDataset(Dataset[EvaluationSample]):
    """Whole cases, or their views, read when they are asked for.

    Args:
        cases: The cases of one part of the split.
        views: How many views each case has.
        read: Reads image and class ids of one view of a case.
    """

    def __init__(
        self, cases: Sequence[Case], views: Sequence[int], read: Callable[[Case, int], tuple[Image, Labels]]
    ) -> None:
        self._cases = cases
        self._places = [(index, view) for index, count in enumerate(views) for view in range(count)]
        self._read = read

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, position: int) -> EvaluationSample:
        index, view = self._places[position]
        image, labels = self._read(self._cases[index], view)
        return {"index": index, "view": view, "image": _tensor(image), "mask": _tensor(labels)}


def _tensor(array: NDArray[np.uint8]) -> Tensor:
    """(H, W, C) as a view (C, H, W), (H, W) as it is; copied if it is part of a larger array or read-only."""
    if not (array.flags.c_contiguous and array.flags.writeable):
        array = array.copy()
    tensor = torch.from_numpy(array)
    return tensor.permute(2, 0, 1) if tensor.ndim == 3 else tensor


def padded_to(case: StoredCase, side: int, ignore_index: int) -> StoredCase:
    """A case at least `side` pixels high and wide: the picture is mirrored, the added pixels carry no label."""
    below, beside = (max(0, side - length) for length in case.labels.shape)
    if not below and not beside:
        return case
    image = np.pad(case.image, ((0, below), (0, beside), (0, 0)), mode="symmetric")
    labels = np.pad(case.labels, ((0, below), (0, beside)), constant_values=ignore_index)
    return StoredCase(image, labels, case.class_pixels, case.locations)

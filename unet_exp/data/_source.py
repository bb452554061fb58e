"""A dataset as a source of cases: where its files are, what its masks mean, at which resolution it is read.

A dataset of its own is a dataclass derived from `PatchSource` (large images at a physical resolution, from
which patches are drawn) or `WholeImageSource` (images resized as a whole). Its fields are the keys of its yaml.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Interval, Len

from unet_exp.bounds import NonNegativeInt, PositiveFloat, PositiveInt, Probability
from unet_exp.data._case import Case, ClassSpec, Image, LabelMap, Labels
from unet_exp.data._dataset import PatchDataset, TrainDataset, WholeImageDataset
from unet_exp.data._image import read_codes, read_image, resize_image, resize_labels
from unet_exp.data._split import Split, SplitSpec, make_split
from unet_exp.errors import ConfigError, DataError

Augmentation = Callable[..., dict[str, Any]]


@dataclass(kw_only=True)
class ImageSource(ABC):
    """What every dataset has.

    Args:
        root: Folder of the dataset.
        classes: Name, colour and mask codes of every class; the order gives the class ids.
        num_classes: Output channels of the network: the number of classes, or 1 for two classes told apart
            by one logit (the second class is the foreground).
        in_channels: Channels of the images.
        ignore_codes: Mask codes of pixels without a label.
        ignore_index: Class id of those pixels.
        mean: Per channel, of images scaled to 0..1; subtracted on the device.
        std: Per channel, of images scaled to 0..1; divided by on the device.
        headline: `global`: the monitored scores come from one confusion matrix over all images (BCSS);
            `per_image`: they are means over images (ISIC).
        split: How cases are divided into training, validation and test.
    """

    root: str
    classes: dict[str, ClassSpec]
    num_classes: PositiveInt
    in_channels: PositiveInt = 3
    ignore_codes: Sequence[NonNegativeInt] = ()
    ignore_index: Annotated[int, Interval(ge=0, le=255)] = 255
    mean: Annotated[Sequence[float], Len(1)]
    std: Annotated[Sequence[PositiveFloat], Len(1)]
    headline: Literal["global", "per_image"]
    split: SplitSpec = field(default_factory=SplitSpec)

    def __post_init__(self) -> None:
        self.classes = {n: c if isinstance(c, ClassSpec) else ClassSpec(**c) for n, c in self.classes.items()}
        if not isinstance(self.split, SplitSpec):
            self.split = SplitSpec(**self.split)
        count = len(self.classes)
        if self.num_classes != count and not (self.num_classes == 1 and count == 2):
            raise ConfigError([f"data.num_classes: {self.num_classes} outputs do not fit {count} data.classes."])
        if not len(self.mean) == len(self.std) == self.in_channels:
            raise ConfigError([f"data.mean, data.std: need {self.in_channels} values each (data.in_channels)."])
        if not self.scored_classes:
            raise ConfigError(["data.classes: at least one class must be scored."])
        self._label_map = LabelMap(self.classes, self.ignore_codes, self.ignore_index)

    @property
    def class_names(self) -> list[str]:
        """Class names in the order of their ids."""
        return list(self.classes)

    @property
    def palette(self) -> list[tuple[int, int, int]]:
        """Colours in the order of the class ids."""
        return [(c.color[0], c.color[1], c.color[2]) for c in self.classes.values()]

    @property
    def scored_classes(self) -> list[int]:
        """Ids of the classes that count in mean Dice and IoU."""
        return [index for index, spec in enumerate(self.classes.values()) if spec.scored]

    def prepare(self) -> None:  # noqa: B027 - most datasets need nothing
        """Make the files if this dataset makes its own; called once, before `cases`."""

    @abstractmethod
    def cases(self) -> list[Case]:
        """All cases under `root`.

        Raises:
            DataError: If there are none; says where it looked and how to get them.
        """

    def make_split(self) -> Split:
        """The cases, divided as `split` says."""
        return make_split(self.cases(), self.split)

    def read_full(self, case: Case) -> tuple[Image, Labels]:
        """Image and class ids at the resolution of the files.

        Raises:
            DataError: If a file is damaged, the two differ in size, or a code is unknown.
        """
        image = read_image(case.image)
        labels = self._label_map.apply(read_codes(case.mask), case.mask)
        if labels.shape != image.shape[:2]:
            raise DataError(
                f"{case.mask}: the mask is {labels.shape[1]}x{labels.shape[0]} px but its image {case.image.name} "
                f"is {image.shape[1]}x{image.shape[0]} px. They must have the same size."
            )
        return image, labels

    @abstractmethod
    def read_training(self, case: Case) -> tuple[Image, Labels]:
        """Image and class ids at the resolution the network works at."""

    @abstractmethod
    def read_evaluation(self, case: Case) -> tuple[Image, Labels]:
        """Image at the resolution the network works at, class ids at the resolution that is scored."""

    @abstractmethod
    def train_dataset(
        self, pairs: Sequence[tuple[Image, Labels]], augmentation: Augmentation, seed: int
    ) -> TrainDataset:
        """Training samples from what `read_training` gave."""

    @property
    @abstractmethod
    def sample_size(self) -> tuple[int, int]:
        """Height and width of a training sample."""


@dataclass(kw_only=True)
class PatchSource(ImageSource):
    """Large images with a physical resolution: random patches train, whole images are scored.

    Args:
        mpp: Micrometres per pixel that the network works at.
        score_mpp: Micrometres per pixel that predictions are scored at; set the same value in runs whose
            `mpp` differs to compare them on one grid.
        patch_size: Side of a training patch in pixels at `mpp`.
        patches_per_epoch: Training patches drawn per epoch.
        min_valid_fraction: Patches with a smaller share of labelled pixels are drawn again.
        window_size: Side of the windows that whole images are predicted in; null: in one piece.
    """

    mpp: PositiveFloat
    score_mpp: PositiveFloat
    patch_size: PositiveInt
    patches_per_epoch: PositiveInt
    min_valid_fraction: Probability = 0.25
    window_size: PositiveInt | None = None

    @property
    def sample_size(self) -> tuple[int, int]:
        """Height and width of a patch."""
        return self.patch_size, self.patch_size

    def read_training(self, case: Case) -> tuple[Image, Labels]:
        """Image and class ids at `mpp`."""
        image, labels = self.read_full(case)
        size = self._size_at(self.mpp, labels, case)
        return resize_image(image, size), resize_labels(labels, size)

    def read_evaluation(self, case: Case) -> tuple[Image, Labels]:
        """Image at `mpp`, class ids at `score_mpp`."""
        image, labels = self.read_full(case)
        return (
            resize_image(image, self._size_at(self.mpp, labels, case)),
            resize_labels(labels, self._size_at(self.score_mpp, labels, case)),
        )

    def train_dataset(
        self, pairs: Sequence[tuple[Image, Labels]], augmentation: Augmentation, seed: int
    ) -> TrainDataset:
        """Random patches, drawn in proportion to the labelled area of each image."""
        return PatchDataset(
            pairs,
            patch_size=self.patch_size,
            length=self.patches_per_epoch,
            min_valid_fraction=self.min_valid_fraction,
            ignore_index=self.ignore_index,
            augmentation=augmentation,
            seed=seed,
        )

    def _size_at(self, mpp: float, labels: Labels, case: Case) -> tuple[int, int]:
        if case.mpp is None:
            raise DataError(f"{case.image}: its resolution in µm per pixel is unknown, but data.mpp needs it.")
        scale = case.mpp / mpp
        return max(1, round(labels.shape[0] * scale)), max(1, round(labels.shape[1] * scale))


@dataclass(kw_only=True)
class WholeImageSource(ImageSource):
    """Images that are resized as a whole; predictions are scored at each image's own resolution.

    Args:
        image_size: Side, or height and width, that images are stretched to for the network.
        window_size: Side of the windows that images are predicted in; null: in one piece.
    """

    image_size: PositiveInt | Annotated[Sequence[PositiveInt], Len(2, 2)]
    window_size: PositiveInt | None = None

    @property
    def sample_size(self) -> tuple[int, int]:
        """Height and width that images are resized to."""
        if isinstance(self.image_size, int):
            return self.image_size, self.image_size
        return self.image_size[0], self.image_size[1]

    def read_training(self, case: Case) -> tuple[Image, Labels]:
        """Image and class ids at `image_size`."""
        image, labels = self.read_full(case)
        return resize_image(image, self.sample_size), resize_labels(labels, self.sample_size)

    def read_evaluation(self, case: Case) -> tuple[Image, Labels]:
        """Image at `image_size`, class ids at the image's own size."""
        image, labels = self.read_full(case)
        return resize_image(image, self.sample_size), labels

    def train_dataset(
        self, pairs: Sequence[tuple[Image, Labels]], augmentation: Augmentation, seed: int
    ) -> TrainDataset:
        """Every image once per epoch."""
        return WholeImageDataset(pairs, augmentation=augmentation, seed=seed)


def missing_data_error(root: str, looked_for: str, how_to_get: str, demo: str) -> DataError:
    """The message for a dataset that is not there.

    Args:
        root: The configured folder.
        looked_for: What was expected in it.
        how_to_get: One sentence.
        demo: Name of the embedded dataset that runs without it.
    """
    folder = Path(root)
    state = "exists, but holds none of it" if folder.is_dir() else "does not exist"
    return DataError(
        f"No data found. Looked for {looked_for} in {folder.resolve()}, which {state}.\n"
        f"{how_to_get}\n"
        f"Then point data.root=<folder> at it, or try data={demo}, which is generated and needs no download."
    )

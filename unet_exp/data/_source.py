"""A dataset as a source of cases: where its files are, what its masks mean, at which resolution it is read.

A dataset of its own is a dataclass derived from `PatchSource` (large images at a physical resolution, from
which patches are drawn), `WholeImageSource` (images resized as a whole) or `VolumeSource` (stacks of slices).
Its fields are the keys of its yaml.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Interval, Len

from unet_exp.bounds import PositiveFloat, PositiveInt
from unet_exp.data._case import Case, ClassSpec, Code, Image, LabelMap, Labels
from unet_exp.data._context import ContextLevel
from unet_exp.data._convert import Conversion, Shapes
from unet_exp.data._download._settings import DownloadSettings
from unet_exp.data._examination import Examination, examine_picture
from unet_exp.data._finding import Scan, refuse_faults
from unet_exp.data._image import read_codes, read_image
from unet_exp.data._split import SplitSpec
from unet_exp.data._store import Store, StoredCase
from unet_exp.errors import ConfigError, DataError

_FORMAT = 1
"""Raised when the reading code changes what it makes of the same files."""

if TYPE_CHECKING:
    from unet_exp.data._dataset import Augmentation, TrainDataset


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

    how_to_get: ClassVar[str] = "Put the files into data.root."
    downloadable: ClassVar[bool] = False
    """Whether `download` can get the files."""

    root: str
    classes: dict[str, ClassSpec]
    num_classes: PositiveInt
    in_channels: PositiveInt = 3
    ignore_codes: Sequence[Code] = ()
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
    def name(self) -> str:
        """Short name for folders and messages."""
        return type(self).__name__.lower()

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

    @property
    def unscored_classes(self) -> list[int]:
        """Ids of the classes that do not count and are not drawn: a background."""
        return [index for index, spec in enumerate(self.classes.values()) if not spec.scored]

    def prepare(self) -> None:  # noqa: B027 - most datasets need nothing
        """Make the files if this dataset makes its own; called once, before `cases`."""

    @abstractmethod
    def scan(self) -> Scan:
        """Find the files under `root` and pair them up, by their names alone.

        Raises:
            DataError: If there are none; says where it looked and how to get them.
        """

    def cases(self) -> list[Case]:
        """All cases under `root`.

        Raises:
            DataError: If there are none, or a file has no partner or a name that is not understood.
        """
        scan = self.scan()
        refuse_faults(scan.findings, self.root)
        return scan.cases

    def download(self, settings: DownloadSettings) -> None:  # noqa: ARG002
        """Get the files into `root`.

        Raises:
            DataError: If they must be got by hand; says how.
        """
        raise DataError(
            f"{self.name} cannot be downloaded by a program. {self.how_to_get}\n"
            "Then run the same command with archive=<the file or folder you got>, or data.root=<its folder>."
        )

    def examine(self, case: Case) -> Examination:
        """Open the files of a case and note everything about them."""
        return examine_picture(case, with_fingerprint=self.compares_images)

    @property
    def compares_images(self) -> bool:
        """Whether the split needs to know which images look alike."""
        return self.split.group == "content"

    @property
    def label_map(self) -> LabelMap:
        """From codes in mask files to class ids."""
        return self._label_map

    def read_full(self, case: Case) -> tuple[Image, Labels]:
        """Image and class ids at the resolution of the files.

        Raises:
            DataError: If a file is damaged, the two differ in size, or a code is unknown.
        """
        image = read_image(case.image)
        labels = self.read_labels(case)
        if labels.shape != image.shape[:2]:
            raise DataError(
                f"{case.mask}: the mask is {labels.shape[1]}x{labels.shape[0]} px but its image {case.image.name} "
                f"is {image.shape[1]}x{image.shape[0]} px. They must have the same size."
            )
        return image, labels

    def read_labels(self, case: Case) -> Labels:
        """Class ids at the resolution of the files.

        Raises:
            DataError: If the file is damaged or a code is unknown.
        """
        return self._label_map.apply(read_codes(case.mask), case.mask)

    @property
    def recipe(self) -> dict[str, Any]:
        """What the stored arrays depend on besides the files: plain values, part of the store's name."""
        codes = {name: list(spec.codes) for name, spec in self.classes.items()}
        return {
            "format": _FORMAT,
            "codes": codes,
            "ignore_codes": list(self.ignore_codes),
            "ignore_index": self.ignore_index,
            **self.resolution,
        }

    @property
    @abstractmethod
    def resolution(self) -> dict[str, Any]:
        """The part of `recipe` that the kind of source adds, e.g. µm per pixel."""

    @abstractmethod
    def stored_shapes(self, case: Case, examination: Examination) -> Shapes:
        """Shapes of the arrays that `read_training` gives, known before anything is read again."""

    @abstractmethod
    def read_training(self, case: Case) -> tuple[Image, Labels]:
        """Image and class ids at the resolution the network works at: what the store holds."""

    def conversion(self, cases: Sequence[Case], examinations: Mapping[str, Examination]) -> Conversion:
        """What the store of this dataset is made of."""
        return Conversion(
            name=self.name,
            recipe=self.recipe,
            cases=cases,
            shapes={case.id: self.stored_shapes(case, examinations[case.id]) for case in cases},
            read=self.read_training,
            mpp=self.resolution.get("mpp"),
            num_classes=len(self.classes),
        )

    def context_conversions(self, base: Store, cases: Sequence[Case]) -> dict[int, Conversion]:  # noqa: ARG002
        """Coarser levels made from the store, by how many times coarser they are."""
        return {}

    def views(self, stored: StoredCase) -> int:  # noqa: ARG002
        """How many samples an evaluation makes of a case: 1 for a picture, the slices of a volume."""
        return 1

    @abstractmethod
    def read_evaluation(self, case: Case, stored: StoredCase, view: int = 0) -> tuple[Image, Labels]:
        """One view of a case: image at the network's resolution, class ids at the resolution that is scored."""

    @abstractmethod
    def train_dataset(
        self, cases: Sequence[StoredCase], contexts: Sequence[ContextLevel], augmentation: "Augmentation", seed: int
    ) -> "TrainDataset":
        """Training samples drawn from stored cases."""

    @property
    @abstractmethod
    def sample_size(self) -> tuple[int, int]:
        """Height and width of a training sample."""


class MissingDataError(DataError):
    """No file of the dataset is where it should be."""


def missing_data_error(root: str, looked_for: str, how_to_get: str, demo: str) -> MissingDataError:
    """The message for a dataset that is not there.

    Args:
        root: The configured folder.
        looked_for: What was expected in it.
        how_to_get: One sentence.
        demo: Name of the embedded dataset that runs without it.
    """
    folder = Path(root)
    state = "exists, but holds none of it" if folder.is_dir() else "does not exist"
    return MissingDataError(
        f"No data found. Looked for {looked_for} in {folder.resolve()}, which {state}.\n"
        f"{how_to_get}\n"
        f"Then point data.root=<folder> at it, or try data={demo}, which is generated and needs no download."
    )

"""Volumes as stacks of slices: a 2D network sees a slice with its neighbours, whole volumes are scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Len

from unet_exp.bounds import PositiveInt, Probability
from unet_exp.data._augmentation_check import refuse_unfit
from unet_exp.data._case import Case, Image, Labels
from unet_exp.data._context import ContextLevel
from unet_exp.data._convert import Shapes
from unet_exp.data._examination import Examination
from unet_exp.data._nifti import read_volume, read_volume_labels
from unet_exp.data._slices import SlicePicker, slice_stack
from unet_exp.data._source import ImageSource
from unet_exp.data._store import StoredCase
from unet_exp.data._volume_examination import examine_volume
from unet_exp.errors import ConfigError, DataError

if TYPE_CHECKING:
    from unet_exp.data._dataset import Augmentation, TrainDataset


@dataclass(kw_only=True)
class VolumeSource(ImageSource):
    """CT volumes in NIfTI files: random crops of slices train, every slice is predicted, a volume is scored as one.

    The channels are neighbouring slices (2.5D, Han 2017, https://arxiv.org/abs/1704.07239), at the resolution of
    the file. One value of `mean` and `std` stands for all of them.

    Args:
        slices: Channels of a sample, odd: a slice and its neighbours.
        window: Hounsfield units that become 0 and 255.
        patch_size: Side of a training crop in pixels; smaller slices are padded without labels.
        patches_per_epoch: Training crops drawn per epoch.
        balance: `none`: crops are drawn from all slices alike; `foreground`: a share of them holds a scored class,
            see `SlicePicker`.
        foreground: That share.
        window_size: Side of the windows that slices are predicted in; null: in one piece.
    """

    slices: PositiveInt
    window: Annotated[Sequence[float], Len(2, 2)]
    patch_size: PositiveInt
    patches_per_epoch: PositiveInt
    balance: Literal["none", "foreground"] = "none"
    foreground: Probability = 0.33
    window_size: PositiveInt | None = None

    def __post_init__(self) -> None:
        if self.slices % 2 == 0:
            raise ConfigError([f"data.slices: must be odd, a slice and as many on either side, got {self.slices}."])
        if self.in_channels != self.slices:
            mistake = f"data.in_channels: {self.in_channels} channels cannot hold {self.slices} slices (data.slices)."
            raise ConfigError([f"{mistake} Leave it at ${{data.slices}}."])
        if not self.window[0] < self.window[1]:
            raise ConfigError([f"data.window: the first value must be below the second, got {list(self.window)}."])
        self.mean, self.std = (
            list(values) * (self.in_channels if len(values) == 1 else 1) for values in (self.mean, self.std)
        )
        super().__post_init__()
        if self.compares_images:
            mistake = "data.split.group: content compares pictures, and these are volumes."
            raise ConfigError([f"{mistake} Use patient; volumes of the same voxels stay together all the same."])

    @property
    def sample_size(self) -> tuple[int, int]:
        """Height and width of a crop."""
        return self.patch_size, self.patch_size

    @property
    def resolution(self) -> dict[str, Any]:
        """The window; the grid is that of the files."""
        return {"window": [float(value) for value in self.window]}

    def examine(self, case: Case) -> Examination:
        """Read the volume and its mask and note everything about them."""
        return examine_volume(case)

    def read_full(self, case: Case) -> tuple[Image, Labels]:
        """Grey values (Z, H, W, 1) and class ids (Z, H, W).

        Raises:
            DataError: If a file is damaged, the two differ in size, or a code is unknown.
        """
        image, labels = read_volume(case.image, self.window), self.read_labels(case)
        if labels.shape != image.shape[:3]:
            raise DataError(
                f"{case.mask}: the mask has {labels.shape} slices, rows and columns, but its volume {case.image.name} "
                f"has {image.shape[:3]}. They must be the same."
            )
        return image, labels

    def read_labels(self, case: Case) -> Labels:
        """Class ids (Z, H, W).

        Raises:
            DataError: If the file is damaged or a code is unknown.
        """
        return read_volume_labels(case.mask, self.label_map)

    def stored_shapes(self, case: Case, examination: Examination) -> Shapes:  # noqa: ARG002
        """Shapes of the files, turned."""
        return (*examination.image_shape, 1), examination.mask_shape

    def read_training(self, case: Case) -> tuple[Image, Labels]:
        """Grey values (Z, H, W, 1) and class ids (Z, H, W)."""
        return self.read_full(case)

    def views(self, stored: StoredCase) -> int:
        """Number of slices."""
        return len(stored.labels)

    def read_evaluation(self, case: Case, stored: StoredCase, view: int = 0) -> tuple[Image, Labels]:  # noqa: ARG002
        """One slice with its neighbours (H, W, slices), and its class ids."""
        return slice_stack(stored.image, view, self.slices), stored.labels[view]

    def train_dataset(
        self,
        cases: Sequence[StoredCase],
        contexts: Sequence[ContextLevel],  # noqa: ARG002
        augmentation: "Augmentation",
        seed: int,
    ) -> "TrainDataset":
        """Random crops of slices, drawn as `balance` says.

        Raises:
            ConfigError: If the augmentation only works on RGB images.
        """
        from unet_exp.data._volume_dataset import SliceDataset  # imports torch, which preparing data does not need

        refuse_unfit(augmentation, self.in_channels)
        picker = SlicePicker(
            cases,
            patch_size=self.patch_size,
            foreground=self.foreground if self.balance == "foreground" else 0.0,
            foreground_classes=self.scored_classes,
        )
        return SliceDataset(
            cases,
            picker=picker,
            slices=self.slices,
            patch_size=self.patch_size,
            length=self.patches_per_epoch,
            ignore_index=self.ignore_index,
            augmentation=augmentation,
            seed=seed,
        )

"""Large images with a physical resolution: random patches train, whole images are scored."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from unet_exp.bounds import PositiveFloat, PositiveInt, Probability
from unet_exp.data._case import Case, Image, Labels
from unet_exp.data._context import ContextLevel, coarsen, coarser_shape, context_factors
from unet_exp.data._convert import Conversion, Shapes
from unet_exp.data._examination import Examination
from unet_exp.data._image import resize_image, resize_labels
from unet_exp.data._patches import Balance, PatchPicker
from unet_exp.data._source import ImageSource
from unet_exp.data._stain import normalize_stain
from unet_exp.data._store import Store, StoredCase
from unet_exp.errors import ConfigError, DataError

if TYPE_CHECKING:
    from unet_exp.data._dataset import Augmentation, TrainDataset


@dataclass(kw_only=True)
class PatchSource(ImageSource):
    """Large images with a physical resolution: random patches train, whole images are scored.

    Args:
        mpp: Micrometres per pixel that the network works at; null: the images' own pixels, whatever their size.
        score_mpp: Micrometres per pixel that predictions are scored at; set the same value in runs whose
            `mpp` differs to compare them on one grid. Null where `mpp` is.
        patch_size: Side of a training patch in pixels at `mpp`.
        patches_per_epoch: Training patches drawn per epoch.
        min_valid_fraction: Patches with a smaller share of labelled pixels are drawn again.
        balance: Where patches are drawn, see `PatchPicker`.
        foreground: Share of patches that `balance=foreground` draws by class.
        context_mpp: Coarser resolutions, whole multiples of `mpp`; a sample holds the concentric crop of each.
        stain: Stain normalisation of every image.
        window_size: Side of the windows that whole images are predicted in; null: in one piece.
    """

    mpp: PositiveFloat | None
    score_mpp: PositiveFloat | None
    patch_size: PositiveInt
    patches_per_epoch: PositiveInt
    min_valid_fraction: Probability = 0.25
    balance: Balance = "none"
    foreground: Probability = 0.33
    context_mpp: Sequence[PositiveFloat] = ()
    stain: Literal["none", "macenko", "reinhard"] = "none"
    window_size: PositiveInt | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.mpp is None) != (self.score_mpp is None):
            raise ConfigError(
                [f"data.mpp, data.score_mpp: give both or neither (null), got {self.mpp} and {self.score_mpp}."]
            )
        if self.context_mpp and self.mpp is None:
            raise ConfigError(["data.context_mpp: coarser resolutions need data.mpp, which is null."])
        self._context_factors = context_factors(self.mpp or 1.0, self.context_mpp, self.patch_size)

    @property
    def sample_size(self) -> tuple[int, int]:
        """Height and width of a patch."""
        return self.patch_size, self.patch_size

    @property
    def resolution(self) -> dict[str, Any]:
        """Micrometres per pixel and stain."""
        return {"mpp": self.mpp, "stain": self.stain}

    def stored_shapes(self, case: Case, examination: Examination) -> Shapes:
        """Shapes at `mpp`."""
        size = self._size_at(self.mpp, examination.image_shape, case)
        return (*size, 3), size

    def read_training(self, case: Case) -> tuple[Image, Labels]:
        """Image and class ids at `mpp`."""
        image, labels = self.read_full(case)
        size = self._size_at(self.mpp, labels.shape, case)
        image = resize_image(image, size)
        if self.stain != "none":
            image = normalize_stain(image, self.stain)
        return image, resize_labels(labels, size)

    def context_conversions(self, base: Store, cases: Sequence[Case]) -> dict[int, Conversion]:
        """One level per resolution of `context_mpp`."""
        return {factor: self._context_conversion(base, cases, factor) for factor in self._context_factors}

    def _context_conversion(self, base: Store, cases: Sequence[Case], factor: int) -> Conversion:
        shapes = {
            case.id: (
                coarser_shape(base.entries[case.id].image_shape, factor),
                coarser_shape(base.entries[case.id].labels_shape, factor),
            )
            for case in cases
        }
        return Conversion(
            name=f"{self.name}-x{factor}",
            recipe={**self.recipe, "coarser_by": factor},
            cases=cases,
            shapes=shapes,
            read=lambda case: coarsen(base[case.id].image, base[case.id].labels, factor, self.ignore_index),
            mpp=self.mpp and self.mpp * factor,
            num_classes=len(self.classes),
        )

    def read_evaluation(self, case: Case, stored: StoredCase, view: int = 0) -> tuple[Image, Labels]:  # noqa: ARG002
        """Image at `mpp`, class ids at `score_mpp`."""
        if self.score_mpp == self.mpp:
            return stored.image, stored.labels
        labels = self.read_labels(case)
        return stored.image, resize_labels(labels, self._size_at(self.score_mpp, labels.shape, case))

    def train_dataset(
        self, cases: Sequence[StoredCase], contexts: Sequence[ContextLevel], augmentation: "Augmentation", seed: int
    ) -> "TrainDataset":
        """Random patches, drawn as `balance` says."""
        from unet_exp.data._dataset import PatchDataset, padded_to  # imports torch, which preparing data does not need

        large = [padded_to(case, self.patch_size, self.ignore_index) for case in cases]
        picker = PatchPicker(
            large,
            patch_size=self.patch_size,
            balance=self.balance,
            foreground=self.foreground,
            foreground_classes=self.scored_classes,
            grid=math.lcm(*self._context_factors),
        )
        return PatchDataset(
            large,
            picker=picker,
            patch_size=self.patch_size,
            length=self.patches_per_epoch,
            min_valid_fraction=self.min_valid_fraction,
            ignore_index=self.ignore_index,
            contexts=contexts,
            augmentation=augmentation,
            seed=seed,
        )

    def _size_at(self, mpp: float | None, shape: Sequence[int], case: Case) -> tuple[int, int]:
        if mpp is None:
            return shape[0], shape[1]
        if case.mpp is None:
            raise DataError(f"{case.image}: its resolution in µm per pixel is unknown, but data.mpp needs it.")
        scale = case.mpp / mpp
        return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))

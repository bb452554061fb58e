"""Images that are resized as a whole; predictions are scored at each image's own resolution."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Len

from unet_exp.bounds import PositiveInt
from unet_exp.data._case import Case, Image, Labels
from unet_exp.data._context import ContextLevel
from unet_exp.data._convert import Shapes
from unet_exp.data._examination import Examination
from unet_exp.data._image import resize_image, resize_labels
from unet_exp.data._source import ImageSource
from unet_exp.data._store import StoredCase

if TYPE_CHECKING:
    from unet_exp.data._dataset import Augmentation, TrainDataset


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

    @property
    def resolution(self) -> dict[str, Any]:
        """The size of the images."""
        return {"image_size": list(self.sample_size)}

    def stored_shapes(self, case: Case, examination: Examination) -> Shapes:  # noqa: ARG002
        """Every image has the same."""
        return (*self.sample_size, 3), self.sample_size

    def read_training(self, case: Case) -> tuple[Image, Labels]:
        """Image and class ids at `image_size`."""
        image, labels = self.read_full(case)
        return resize_image(image, self.sample_size), resize_labels(labels, self.sample_size)

    def read_evaluation(self, case: Case, stored: StoredCase, view: int = 0) -> tuple[Image, Labels]:  # noqa: ARG002
        """Image at `image_size`, class ids at the image's own size."""
        return stored.image, self.read_labels(case)

    def train_dataset(
        self,
        cases: Sequence[StoredCase],
        contexts: Sequence[ContextLevel],  # noqa: ARG002 - there is nothing around a whole image
        augmentation: "Augmentation",
        seed: int,
    ) -> "TrainDataset":
        """Every image once per epoch."""
        from unet_exp.data._dataset import WholeImageDataset  # imports torch, which preparing data does not need

        return WholeImageDataset(cases, augmentation=augmentation, seed=seed)

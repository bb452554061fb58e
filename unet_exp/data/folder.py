"""Any pair of folders: images in one, masks of the same names in the other, binary or multiclass."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unet_exp.data._case import Case
from unet_exp.data._source import WholeImageSource, missing_data_error
from unet_exp.errors import DataError

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


@dataclass(kw_only=True)
class Folder(WholeImageSource):
    """Images and masks of the same stem under `root`.

    Args:
        images: Sub-folder of the images.
        masks: Sub-folder of the masks; a mask is called like its image, with one of `mask_endings`.
        mask_endings: What may follow the image's stem in the name of its mask, before the file type.
    """

    images: str = "images"
    masks: str = "masks"
    mask_endings: Sequence[str] = ("", "_mask", "_segmentation")

    def cases(self) -> list[Case]:
        """One case per image.

        Raises:
            DataError: If there is none, or an image has no mask.
        """
        images = self._files(self.images)
        masks = {path.stem: path for path in self._files(self.masks)}
        if not images or not masks:
            raise missing_data_error(
                self.root,
                f"pictures in {self.images}/ and {self.masks}/",
                "Name the sub-folders with data.images=<folder> and data.masks=<folder> if they are called otherwise.",
                "lesion_demo",
            )
        pairs = {image: self._mask_of(image, masks) for image in images}
        alone = [image.name for image, mask in pairs.items() if mask is None]
        if alone:
            raise DataError(
                f"{len(alone)} of {len(images)} images have no mask in {Path(self.root) / self.masks}: "
                f"{', '.join(alone[:5])}. Add the masks, remove the images, or set data.mask_endings."
            )
        return [
            Case(id=image.stem, image=image, mask=mask, patient=image.stem, institution="", part="train")
            for image, mask in pairs.items()
            if mask is not None
        ]

    def _files(self, name: str) -> list[Path]:
        folder = Path(self.root) / name
        if not folder.is_dir():
            return []
        return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)

    def _mask_of(self, image: Path, masks: dict[str, Path]) -> Path | None:
        return next((masks[image.stem + end] for end in self.mask_endings if image.stem + end in masks), None)

"""Any pair of folders: images in one, masks of the same names in the other, binary or multiclass."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from unet_exp.data._case import Case
from unet_exp.data._finding import Scan
from unet_exp.data._pairing import PICTURE_SUFFIXES, files_in, pair_by_name
from unet_exp.data._source import missing_data_error
from unet_exp.data._whole_source import WholeImageSource


@dataclass(kw_only=True)
class Folder(WholeImageSource):
    """Images and masks of the same stem under `root`.

    Args:
        images: Sub-folder of the images.
        masks: Sub-folder of the masks; a mask is called like its image, with one of `mask_endings`.
        mask_endings: What may follow the image's stem in the name of its mask, before the file type.
    """

    how_to_get: ClassVar[str] = (
        "Name the sub-folders with data.images=<folder> and data.masks=<folder> if they are called otherwise."
    )

    images: str = "images"
    masks: str = "masks"
    mask_endings: Sequence[str] = ("", "_mask", "_segmentation")

    def scan(self) -> Scan:
        """One case per image.

        Raises:
            DataError: If there is neither an image nor a mask.
        """
        image_folder, mask_folder = Path(self.root) / self.images, Path(self.root) / self.masks
        images = files_in(image_folder, PICTURE_SUFFIXES)
        masks = files_in(mask_folder, PICTURE_SUFFIXES)
        if not images and not masks:
            raise missing_data_error(
                self.root,
                f"pictures in {self.images}/ and {self.masks}/",
                self.how_to_get,
                "lesion_demo",
            )
        stems = {path.stem for path in images}
        pairing = pair_by_name(
            ((path.stem, path) for path in images),
            ((self._image_stem(path.stem, stems), path) for path in masks),
            images_in=f"{image_folder} (data.images, data.mask_endings)",
            masks_in=f"{mask_folder} (data.masks, data.mask_endings)",
        )
        cases = [
            Case(id=name, image=image, mask=mask, patient=name, institution="", part="train")
            for name, (image, mask) in pairing.pairs.items()
        ]
        return Scan(cases, pairing.findings)

    def _image_stem(self, mask_stem: str, image_stems: Set[str]) -> str:
        """Stem of the image that a mask belongs to; the mask's own if there is none."""
        candidates = (mask_stem.removesuffix(end) for end in self.mask_endings if mask_stem.endswith(end))
        return next((stem for stem in candidates if stem in image_stems), mask_stem)

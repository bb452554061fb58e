"""ISIC challenges 2016, 2017 and 2018, Task 1: the border of one skin lesion per dermoscopic photograph.

Dataset features: 900/379 (2016), 2000/150/600 (2017), 2594/100/1000 (2018) photographs for training, validation
and test, 500 to 6,700 px a side; masks {0, 255}.

Dataset format: the folders of the official zip files side by side, images ``ISIC_0000000.jpg``, masks
``ISIC_0000000_segmentation.png`` (2016: ``_Segmentation``). ``_superpixels.png`` files are skipped.

Codella et al., "Skin lesion analysis toward melanoma detection", https://arxiv.org/abs/1710.05006 (2017) and
https://arxiv.org/abs/1902.03368 (2018); Gutman et al., https://arxiv.org/abs/1605.01397 (2016).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unet_exp.data._case import Case, Part
from unet_exp.data._source import WholeImageSource, missing_data_error
from unet_exp.errors import DataError

_FOLDERS: dict[int, dict[Part, tuple[str, str]]] = {
    2016: {
        "train": ("ISBI2016_ISIC_Part1_Training_Data", "ISBI2016_ISIC_Part1_Training_GroundTruth"),
        "test": ("ISBI2016_ISIC_Part1_Test_Data", "ISBI2016_ISIC_Part1_Test_GroundTruth"),
    },
    2017: {
        "train": ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"),
        "val": ("ISIC-2017_Validation_Data", "ISIC-2017_Validation_Part1_GroundTruth"),
        "test": ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"),
    },
    2018: {
        "train": ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
        "val": ("ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth"),
        "test": ("ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth"),
    },
}
_MASK_ENDING = "_segmentation.png"


@dataclass(kw_only=True)
class ISIC(WholeImageSource):
    """One year's official folders under `root`; parts that are not there are left out.

    Args:
        year: Year of the challenge.
    """

    year: Literal[2016, 2017, 2018]

    def cases(self) -> list[Case]:
        """One case per image of the official folders.

        Raises:
            DataError: If there is none, or an image has no mask or a mask no image.
        """
        found = [case for part in _FOLDERS[self.year] for case in self._cases_of(part)]
        if not found:
            images, masks = _FOLDERS[self.year]["train"]
            raise missing_data_error(
                self.root,
                f"the folders {images}/ and {masks}/",
                f"Download and unpack the {self.year} Task 1 files from https://challenge.isic-archive.com/data/.",
                "lesion_demo",
            )
        return found

    def _cases_of(self, part: Part) -> Iterator[Case]:
        image_folder, mask_folder = (Path(self.root) / name for name in _FOLDERS[self.year][part])
        if not image_folder.is_dir() or not mask_folder.is_dir():
            return
        images = {path.stem: path for path in sorted(image_folder.iterdir()) if path.suffix.lower() == ".jpg"}
        masks = {
            path.name[: -len(_MASK_ENDING)]: path
            for path in sorted(mask_folder.iterdir())
            if path.name.lower().endswith(_MASK_ENDING)
        }
        alone = sorted(images.keys() ^ masks.keys())
        if alone:
            raise DataError(
                f"{len(alone)} of {len(images)} images in {image_folder} and {len(masks)} masks in {mask_folder} have "
                f"no partner: {', '.join(alone[:5])}. Unpack both archives again, or remove the odd files."
            )
        for name, image in images.items():
            yield Case(id=name, image=image, mask=masks[name], patient=name, institution="", part=part)

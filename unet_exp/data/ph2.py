"""PH2: 200 dermoscopic images of melanocytic lesions.

Dataset format: ``PH2 Dataset images/IMDxxx/IMDxxx_Dermoscopic_Image/IMDxxx.bmp`` and
``.../IMDxxx_lesion/IMDxxx_lesion.bmp``, masks 1-bit (one of them 8-bit). By request from its owners.

Mendonça et al., "PH2 - a dermoscopic image database for research and benchmarking", EMBC 2013,
https://doi.org/10.1109/EMBC.2013.6610779.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from unet_exp.data._case import Case, Part
from unet_exp.data._finding import Scan
from unet_exp.data._pairing import pair_by_name
from unet_exp.data._source import missing_data_error
from unet_exp.data._whole_source import WholeImageSource


@dataclass(kw_only=True)
class PH2(WholeImageSource):
    """The PH2 images under `root`, in their original layout.

    PH2 has no official split: set `split.scheme` to kfold or holdout to train on it. It mostly serves to test
    networks trained on ISIC, for which all of it is the test part (`split.scheme=official`).
    """

    how_to_get: ClassVar[str] = "PH2 is given out on request: https://www.fc.up.pt/addi/ph2%20database.html."

    def scan(self) -> Scan:
        """One case per image folder.

        Raises:
            DataError: If there is neither an image nor a mask.
        """
        images = sorted(Path(self.root).rglob("IMD*_Dermoscopic_Image/IMD*.bmp"))
        masks = sorted(Path(self.root).rglob("IMD*_lesion/IMD*_lesion.bmp"))
        if not images and not masks:
            raise missing_data_error(
                self.root,
                "IMDxxx/IMDxxx_Dermoscopic_Image/IMDxxx.bmp",
                self.how_to_get,
                "lesion_demo",
            )
        pairing = pair_by_name(
            ((path.stem, path) for path in images),
            ((path.stem.removesuffix("_lesion"), path) for path in masks),
            images_in="IMDxxx/IMDxxx_Dermoscopic_Image",
            masks_in="IMDxxx/IMDxxx_lesion",
        )
        part: Part = "test" if self.split.scheme == "official" else "train"
        cases = [
            Case(id=name, image=image, mask=mask, patient=name, institution="", part=part)
            for name, (image, mask) in pairing.pairs.items()
        ]
        return Scan(cases, pairing.findings)

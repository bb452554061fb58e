"""PH2: 200 dermoscopic images of melanocytic lesions.

Dataset format: ``PH2 Dataset images/IMDxxx/IMDxxx_Dermoscopic_Image/IMDxxx.bmp`` and
``.../IMDxxx_lesion/IMDxxx_lesion.bmp``, masks 1-bit (one of them 8-bit). By request from its owners.

Mendonça et al., "PH2 - a dermoscopic image database for research and benchmarking", EMBC 2013,
https://doi.org/10.1109/EMBC.2013.6610779.
"""

from dataclasses import dataclass
from pathlib import Path

from unet_exp.data._case import Case
from unet_exp.data._source import WholeImageSource, missing_data_error
from unet_exp.errors import DataError


@dataclass(kw_only=True)
class PH2(WholeImageSource):
    """The PH2 images under `root`, in their original layout.

    PH2 has no official split: set `split.scheme` to kfold or holdout to train on it. It mostly serves to test
    networks trained on ISIC, for which all of it is the test part (`split.scheme=official`).
    """

    def cases(self) -> list[Case]:
        """One case per image folder.

        Raises:
            DataError: If there is none, or a mask is missing.
        """
        images = sorted(Path(self.root).rglob("IMD*_Dermoscopic_Image/IMD*.bmp"))
        if not images:
            raise missing_data_error(
                self.root,
                "IMDxxx/IMDxxx_Dermoscopic_Image/IMDxxx.bmp",
                "PH2 is given out on request: https://www.fc.up.pt/addi/ph2%20database.html.",
                "lesion_demo",
            )
        official = self.split.scheme == "official"
        return [
            Case(
                id=image.stem,
                image=image,
                mask=_mask_of(image),
                patient=image.stem,
                institution="",
                part="test" if official else "train",
            )
            for image in images
        ]


def _mask_of(image: Path) -> Path:
    mask = image.parent.parent / f"{image.stem}_lesion" / f"{image.stem}_lesion.bmp"
    if not mask.is_file():
        raise DataError(f"{image}: its mask {mask} is missing. Unpack the PH2 archive again.")
    return mask

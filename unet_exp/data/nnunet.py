"""Datasets in the raw format of nnU-Net version 2, as far as they hold natural images.

Dataset format: ``dataset.json``; ``imagesTr/<case>_0000.png`` (RGB in one file, as nnU-Net's NaturalImage2DIO has it)
and ``labelsTr/<case>.png`` with one code per pixel; optionally ``imagesTs`` and ``labelsTs`` in the same way, for
testing. Classes come from ``dataset.json``; its label `ignore` marks pixels without a label.

Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation", Nature
Methods 18, 2021, https://doi.org/10.1038/s41592-020-01008-z. Format:
https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unet_exp.data._case import Case, Part
from unet_exp.data._finding import Finding, Scan
from unet_exp.data._nnunet_json import FILE_NAME, DatasetJson, read_dataset_json
from unet_exp.data._pairing import files_in, pair_by_name
from unet_exp.data._patch_source import PatchSource
from unet_exp.data._source import missing_data_error
from unet_exp.errors import ConfigError, DataError

_SPLITS = "splits_final.json"
_PREPROCESSED = "nnUNet_preprocessed"
_IMAGE_NAME = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


@dataclass(kw_only=True)
class NNUNet(PatchSource):
    """One folder ``Dataset<number>_<name>`` of ``nnUNet_raw``.

    With `split.scheme=official` training and validation cases are those of fold `split.fold` in nnU-Net's own
    list of splits; cases that the fold does not name are left out.

    Args:
        splits: The list of splits; null: ``splits_final.json`` in `root`, or in the folder of the same name in
            ``nnUNet_preprocessed`` beside ``nnUNet_raw``.
    """

    splits: str | None = None

    def scan(self) -> Scan:
        """One case per pair of image and mask.

        Raises:
            DataError: If there is no dataset.json, or it does not describe natural images.
            ConfigError: If classes were given that are not those of dataset.json, or the fold does not exist.
        """
        root = Path(self.root)
        if not (root / FILE_NAME).is_file():
            raise missing_data_error(
                self.root,
                f"{FILE_NAME}, imagesTr/ and labelsTr/",
                "A dataset of nnU-Net version 2 is a folder .../nnUNet_raw/Dataset<number>_<name>.",
                "lesion_demo",
            )
        description = read_dataset_json(root)
        self._check_classes(description)
        training, test = self._scan_part("train", description), self._scan_part("test", description)
        findings = [*training.findings, *test.findings]
        if len(training.cases) != description.num_training and not training.findings:
            detail = f"numTraining is {description.num_training}, but imagesTr holds {len(training.cases)} cases."
            findings.append(Finding(kind="wrong_count", file=root / FILE_NAME, detail=detail))
        return Scan([*self._with_parts(training.cases), *test.cases], findings)

    def _check_classes(self, description: DatasetJson) -> None:
        given = {name: list(spec.codes) for name, spec in self.classes.items()}
        expected = {name: [code] for name, code in description.codes.items()}
        if given != expected or list(self.ignore_codes) != list(description.ignore_codes):
            raise ConfigError(
                [
                    f"data.classes, data.ignore_codes: {given} and {list(self.ignore_codes)} are not the labels of "
                    f"{Path(self.root) / FILE_NAME}, {expected} and {list(description.ignore_codes)}. A new run takes "
                    "them from there by itself; a finished run can only be used with data of its own classes."
                ]
            )

    def _scan_part(self, part: Part, description: DatasetJson) -> Scan:
        ending = "Ts" if part == "test" else "Tr"
        image_folder, mask_folder = (Path(self.root) / f"{name}{ending}" for name in ("images", "labels"))
        if part == "test" and not mask_folder.is_dir():
            return Scan([], [])  # images to predict, as nnU-Net has them, cannot be scored
        images, findings = _image_cases(files_in(image_folder, [description.file_ending]))
        masks = files_in(mask_folder, [description.file_ending])
        pairing = pair_by_name(
            images.items(),
            ((path.stem, path) for path in masks),
            images_in=str(image_folder),
            masks_in=str(mask_folder),
        )
        cases = [
            Case(id=name, image=image, mask=mask, patient=name, institution="", part=part)
            for name, (image, mask) in pairing.pairs.items()
        ]
        return Scan(cases, [*findings, *pairing.findings])

    def _with_parts(self, cases: list[Case]) -> list[Case]:
        """The training cases in the parts of the chosen fold, where one is asked for."""
        path = self._splits_file()
        if self.split.scheme not in ("official", "auto") or (path is None and self.split.scheme == "auto"):
            return cases
        if path is None:
            raise DataError(
                f"data.split.scheme=official needs {_SPLITS}, but it is neither in {' nor in '.join(self._places())}. "
                "Give its place with data.splits=<file>, or use data.split.scheme=kfold."
            )
        parts = _parts_of_fold(path, self.split.fold, {case.id for case in cases})
        return [replace(case, part=parts[case.id]) for case in cases if case.id in parts]

    def _splits_file(self) -> Path | None:
        if self.splits is not None:
            return Path(self.splits)
        return next((file for place in self._places() if (file := Path(place) / _SPLITS).is_file()), None)

    def _places(self) -> list[str]:
        folder = Path(self.root).resolve()
        return [self.root, str(folder.parent.parent / _PREPROCESSED / folder.name)]


def _image_cases(images: Collection[Path]) -> tuple[dict[str, Path], list[Finding]]:
    """Images by the names of their cases; names that do not end in a channel are findings."""
    named, findings = {}, []
    for path in images:
        match = _IMAGE_NAME.fullmatch(path.stem)
        if match is None:
            detail = "the name of an image ends in the number of its channel, as in case_0000.png."
            findings.append(Finding(kind="bad_name", file=path, detail=detail))
        elif match["channel"] != "0000":
            detail = "only _0000 is expected: the channels of a natural image are in one file."
            findings.append(Finding(kind="bad_name", file=path, detail=detail))
        else:
            named[match["case"]] = path
    return named, findings


def _parts_of_fold(path: Path, fold: int, known: Collection[str]) -> Mapping[str, Part]:
    """Part of every case that a fold names.

    Raises:
        DataError: If the file is damaged, or names a case that is not there.
        ConfigError: If there is no such fold.
    """
    folds = _read_folds(path)
    if fold >= len(folds):
        raise ConfigError([f"data.split.fold: {path} has {len(folds)} folds, so it must be below that, got {fold}."])
    train, val = folds[fold]
    both = sorted(set(train) & set(val))
    if both:
        raise DataError(f"{path}: fold {fold} names {both[0]} for training and for validation.")
    missing = sorted({*train, *val} - set(known))
    if missing:
        raise DataError(
            f"{path}: fold {fold} names {len(missing)} cases that have no image and mask in imagesTr and labelsTr, "
            f"e.g. {missing[0]}. Add them, or use data.split.scheme=kfold."
        )
    return {**dict.fromkeys(train, "train"), **dict.fromkeys(val, "val")}


def _read_folds(path: Path) -> list[tuple[list[str], list[str]]]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        return [([str(name) for name in fold["train"]], [str(name) for name in fold["val"]]) for fold in content]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). It is the list of splits (data.splits).") from None
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{path}: is not a list of folds with the keys train and val.") from None

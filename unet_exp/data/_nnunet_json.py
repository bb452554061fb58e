"""The classes of an nnU-Net dataset, read from its dataset.json.

The configuration asks for them too, as ``${nnunet:<folder>,classes}``, so that the network knows their number
before anything is built; hence nothing here imports numpy or torch.
"""

import colorsys
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from unet_exp.errors import DataError

Color = tuple[int, int, int]

FILE_NAME = "dataset.json"
FILE_ENDINGS = (".png", ".bmp", ".tif")
"""Those of nnU-Net's NaturalImage2DIO."""

_BACKGROUND = "background"
_IGNORE = "ignore"
_BLACK: Color = (0, 0, 0)
_OKABE_ITO: tuple[Color, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""Colours that people who see few colours can tell apart (Okabe and Ito, https://jfly.uni-koeln.de/color/)."""
_GOLDEN_RATIO = 0.6180339887


@dataclass(frozen=True)
class DatasetJson:
    """What is used of a dataset.json.

    Args:
        codes: Mask code of every class but `ignore`, in the order of the codes; the first is the background.
        ignore_codes: The code of `ignore`, if there is one.
        file_ending: Ending of images and masks, e.g. ``.png``.
        num_training: Number of training cases.
    """

    codes: Mapping[str, int]
    ignore_codes: tuple[int, ...]
    file_ending: str
    num_training: int

    def classes(self) -> dict[str, dict[str, Any]]:
        """The classes as `data.classes` holds them; the background is not scored."""
        colors = distinct_colors()
        return {
            name: {"color": list(next(colors) if code else _BLACK), "codes": [code], "scored": code != 0}
            for name, code in self.codes.items()
        }


def resolve(folder: str, key: str) -> Any:
    """What ``${nnunet:<folder>,<key>}`` stands for in a yaml.

    Where there is no usable file two classes are made up: that the file is missing or wrong is explained once the
    dataset is opened, and choices can be listed and checked without data.

    Args:
        folder: Folder of the dataset.
        key: `classes`, `num_classes` or `ignore_codes`.
    """
    try:
        found = read_dataset_json(Path(folder))
    except DataError:
        found = DatasetJson({_BACKGROUND: 0, "foreground": 1}, (), FILE_ENDINGS[0], 0)
    # As nodes of a configuration: OmegaConf does not turn a plain dict into one when all is resolved (`--resolve`).
    return OmegaConf.create(
        {"classes": found.classes(), "num_classes": len(found.codes), "ignore_codes": list(found.ignore_codes)}
    )[key]


def read_dataset_json(folder: Path) -> DatasetJson:
    """Read and check the file.

    Raises:
        DataError: If it is missing, damaged, or describes what is not supported; says what.
    """
    path = folder / FILE_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        labels, ending = dict(content["labels"]), str(content["file_ending"])
        channels, num_training = dict(content["channel_names"]), int(content["numTraining"])
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, TypeError, KeyError) as error:
        reason = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{path}: is not a dataset.json of nnU-Net version 2 ({reason}).") from None
    _check_supported(path, content, channels, ending)
    codes = _codes(path, labels)
    ignore = codes.pop(_IGNORE, None)
    return DatasetJson(codes, () if ignore is None else (ignore,), ending, num_training)


def _check_supported(path: Path, content: Mapping[str, Any], channels: Mapping[str, Any], ending: str) -> None:
    if ending not in FILE_ENDINGS:
        raise DataError(
            f"{path}: file_ending {ending!r} is not supported; natural images end in {', '.join(FILE_ENDINGS)}."
        )
    if len(channels) not in (1, 3):
        raise DataError(
            f"{path}: channel_names lists {len(channels)} channels ({', '.join(map(str, channels.values()))}), but "
            "only natural images are supported: three (R, G, B) or one (grey), all in one file per case."
        )
    if "dataset" in content:
        raise DataError(
            f"{path}: it lists its files itself (key 'dataset'), which is not supported. Lay them out as "
            "imagesTr/<case>_0000.png and labelsTr/<case>.png."
        )


def _codes(path: Path, labels: Mapping[str, Any]) -> dict[str, int]:
    """Code of each name, ascending."""
    codes: dict[str, int] = {}
    for name, value in labels.items():
        members = value if isinstance(value, list) else [value]
        if len(members) != 1:
            raise DataError(
                f"{path}: label {name!r} is a region ({members}); overlapping classes are not supported. Give every "
                "pixel one class."
            )
        if type(members[0]) is not int or not 0 <= members[0] < 2**16:
            raise DataError(f"{path}: label {name!r} must be a whole number from 0 to 65535, got {members[0]!r}.")
        codes[name] = members[0]
    expected = list(range(len(codes)))
    if sorted(codes.values()) != expected or codes.get(_BACKGROUND) != 0 or len(codes) - (_IGNORE in codes) < 2:
        raise DataError(
            f"{path}: labels must be 'background': 0, at least one class, and consecutive numbers, got {codes}."
        )
    if _IGNORE in codes and codes[_IGNORE] != expected[-1]:
        raise DataError(f"{path}: 'ignore' must be the highest label, got {codes[_IGNORE]} of {expected[-1]}.")
    return dict(sorted(codes.items(), key=lambda item: item[1]))


def distinct_colors() -> Iterator[Color]:
    """Colours for classes, all different: first those of Okabe and Ito, then hues in steps of the golden ratio."""
    yield from _OKABE_ITO
    hue = 0.0
    while True:
        hue = (hue + _GOLDEN_RATIO) % 1
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.65, 0.9)
        yield round(255 * red), round(255 * green), round(255 * blue)

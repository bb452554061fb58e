"""Pictures of single cases beside the scores: image, truth, prediction and errors, each a file of its own."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet_exp.data._source import ImageSource
from unet_exp.figure.case import case_pictures
from unet_exp.figure.panel import Example
from unet_exp.files import write_atomically, write_json


@dataclass(frozen=True)
class DrawnCase:
    """A case worth looking at.

    Args:
        label: Why: `best`, `median`, `worst` or `only`.
        id: Of the case.
        dice: Its Dice.
        example: What is drawn.
    """

    label: str
    id: str
    dice: float
    example: Example


def write_case_files(folder: Path, part: str, drawn: Sequence[DrawnCase], source: ImageSource) -> None:
    """Replace what the folder holds of a part; cases.json says what each file shows.

    Args:
        folder: The folder `cases` of a run or an evaluation.
        part: `train`, `val` or `test`.
        drawn: The chosen cases.
        source: The dataset.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{part}-*.jpg"):
        old.unlink()
    entries = []
    for case in drawn:
        stem = f"{part}-{case.label}-{re.sub(r'[^A-Za-z0-9._-]+', '_', case.id)}"
        pictures = case_pictures(
            case.example, palette=source.palette, ignore_index=source.ignore_index, hide=source.unscored_classes
        )
        files = {view: f"{stem}.{view}.jpg" for view in pictures}
        for view, content in pictures.items():
            write_atomically(folder / files[view], content)
        entries.append({"part": part, "label": case.label, "id": case.id, "dice": case.dice, "files": files})
    write_json(folder / "cases.json", [*_entries_of_other_parts(folder / "cases.json", part), *entries])


def _entries_of_other_parts(file: Path, part: str) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    entries: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return [entry for entry in entries if entry["part"] != part]

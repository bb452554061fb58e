"""Pictures of the best, the median and the worst case, small enough to be part of the page."""

import base64
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unet_exp.reporting.evaluations import Evaluation
from unet_exp.reporting.runs import printable
from unet_exp.statistics.score import case_scores

VIEWS = ("image", "truth", "prediction", "error")
_QUALITY = 82
_PANEL_SIDES = 4
"""A panel of older runs shows four pictures side by side."""


@dataclass(frozen=True)
class Case:
    """One case of one run.

    Args:
        label: `best`, `median` or `worst`; empty for a panel of all three.
        id: Of the image; empty for a panel.
        dice: Its Dice, None where there is none.
        pictures: Data URIs by view.
    """

    label: str
    id: str
    dice: float | None
    pictures: Mapping[str, str]


def read_cases(evaluation: Evaluation, *, side: int) -> list[Case]:
    """The cases that an evaluation has drawn; the panel of older runs where there are none.

    Pictures that cannot be read are left out: the numbers do not depend on them.

    Args:
        evaluation: Its folder holds `cases/cases.json`, or `figures/predictions_<part>.png`.
        side: Longest side of a picture, in pixels.
    """
    if evaluation.folds:
        return _read_pooled(evaluation, side)
    folder = evaluation.folder / "cases"
    cases = [_read_case(folder, entry, side) for entry in _entries(folder / "cases.json", evaluation.part)]
    shown = [case for case in cases if case.pictures]
    if shown:
        return shown
    panel = thumbnail(evaluation.folder / "figures" / f"predictions_{evaluation.part}.png", _PANEL_SIDES * side)
    return [Case("", "", None, {"panel": panel})] if panel else []


def _read_pooled(evaluation: Evaluation, side: int) -> list[Case]:
    """Of the cases that the folds have drawn: the best, that nearest to the median of all images, and the worst."""
    folders = [fold.folder / "cases" for fold in evaluation.folds]
    drawn = [(folder, entry) for folder in folders for entry in _entries(folder / "cases.json", evaluation.part)]
    known = [item for item in drawn if isinstance(item[1].get("dice"), int | float)]
    if not known:
        return []
    middle = _median_dice(evaluation)
    chosen = {
        "best": max(known, key=lambda item: item[1]["dice"]),
        "median": min(known, key=lambda item: abs(item[1]["dice"] - middle)),
        "worst": min(known, key=lambda item: item[1]["dice"]),
    }
    cases = [_read_case(folder, {**entry, "label": label}, side) for label, (folder, entry) in chosen.items()]
    return [case for case in cases if case.pictures]


def _median_dice(evaluation: Evaluation) -> float:
    """Of all images; NaN where there are no counts, which leaves the choice to the order of the folds."""
    return math.nan if evaluation.counts is None else float(np.nanmedian(case_scores(evaluation.counts, "image_dice")))


def _entries(file: Path, part: str) -> list[Mapping[str, Any]]:
    """What cases.json lists of one part."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    entries = content.get(part, []) if isinstance(content, dict) else content
    return [e for e in entries if isinstance(e, dict) and e.get("part", part) == part and _is_case(e, part)]


def _is_case(entry: Mapping[str, Any], part: str) -> bool:
    files = entry.get("files")
    return isinstance(files, dict) and all(str(name).startswith(f"{part}-") for name in files.values())


def _read_case(folder: Path, entry: Mapping[str, Any], side: int) -> Case:
    # Only the name counts: a path in the file cannot lead out of the folder.
    files = {view: folder / Path(str(entry["files"][view])).name for view in VIEWS if view in entry["files"]}
    pictures = {view: uri for view, file in files.items() if (uri := thumbnail(file, side))}
    dice = entry.get("dice")
    return Case(
        label=printable(str(entry.get("label", ""))),
        id=printable(str(entry.get("id", ""))),
        dice=float(dice) if isinstance(dice, int | float) else None,
        pictures=pictures,
    )


def thumbnail(file: Path, side: int) -> str | None:
    """A picture, at most `side` pixels long, as a data URI; None if it cannot be read."""
    try:
        with Image.open(file) as opened:
            picture = opened.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"

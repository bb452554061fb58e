"""Reading what a run was scored: metrics.json and per_image.csv of the run, and of evaluations made later."""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from unet_exp.errors import DataError
from unet_exp.statistics.counts import CaseCounts, Cluster

PARTS = ("test", "val", "train")
_CLUSTERS = ("image", "patient", "institution")
_AGAIN = "Score the run again: python -m unet_exp.evaluate run=<run folder>"


@dataclass(frozen=True)
class Evaluation:
    """One part of a dataset as one run was scored on it.

    Args:
        label: Empty for the evaluation that ends a training, else the folder under `evaluation/`.
        part: `train`, `val` or `test`.
        folder: Where its files lie.
        scores: What metrics.json says of the part.
        context: What else metrics.json says.
        class_names: All classes, in the order of their ids.
        scored_classes: Names of those that count in means.
        counts: Pixel counts of every image, None where an older version wrote none.
        trained_on: Number of images that the run was trained on.
        folds: The evaluations that this one was pooled from, empty if it is of a single run.
    """

    label: str
    part: str
    folder: Path
    scores: Mapping[str, Any]
    context: Mapping[str, Any]
    class_names: Sequence[str]
    scored_classes: Sequence[str]
    counts: CaseCounts | None
    trained_on: int = 0
    folds: Sequence["Evaluation"] = ()

    def number(self, name: str) -> float | None:
        """A number of this part or of the whole evaluation (costs), None if it was not recorded."""
        for place in (self.scores, self.context, self.context.get("cost"), self.scores.get("cost")):
            value = place.get(name) if isinstance(place, Mapping) else None
            if isinstance(value, int | float) and math.isfinite(value):
                return float(value)
        return None

    @property
    def is_global(self) -> bool:
        """Whether the headline is the score of all images taken together, rather than the mean over images."""
        return bool(self.context.get("conventions", {}).get("headline", "global") == "global")

    @property
    def cluster(self) -> Cluster:
        """What belongs together: the column of per_image.csv that was resampled in metrics.json, else the patient."""
        return _cluster(self.scores)


def read_evaluation(folder: Path, *, label: str, config: Mapping[str, Any]) -> list[Evaluation]:
    """Every part that one metrics.json holds.

    Args:
        folder: Holds metrics.json and per_image.csv.
        label: See `Evaluation`.
        config: Configuration of the run.

    Raises:
        DataError: If a file is damaged; names it.
    """
    file = folder / "metrics.json"
    metrics = read_json(file)
    parts = {part: metrics[part] for part in PARTS if part in metrics}
    if not parts or not all(isinstance(scores, dict) and "dice" in scores for scores in parts.values()):
        raise DataError(f"{file} is damaged: it holds no scores. {_AGAIN}.")
    context = {key: value for key, value in metrics.items() if key not in PARTS}
    rows = _read_rows(folder / "per_image.csv")
    class_names, scored = _classes(file, context, config)
    evaluations = []
    for part, scores in parts.items():
        own = [row for row in rows if row["part"] == part]
        counts = _counts(own, class_names, scored, _cluster(scores), folder)
        seen = sum(row.get("trained_on") == "True" for row in own)
        evaluations.append(Evaluation(label, part, folder, scores, context, class_names, scored, counts, seen))
    return evaluations


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        DataError: If the file cannot be read or holds something else.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is damaged or missing ({error}). {_AGAIN}.") from None
    if not isinstance(content, dict):
        raise DataError(f"{file} is damaged: it holds no JSON object. {_AGAIN}.")
    return content


def _cluster(scores: Mapping[str, Any]) -> Cluster:
    described = scores.get("bootstrap")
    named = described.get("cluster_by") if isinstance(described, Mapping) else None
    return cast(Cluster, named) if named in _CLUSTERS else "patient"


def _classes(file: Path, context: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """All classes in the order of their ids, and the scored ones."""
    conventions = context.get("conventions")
    scored = conventions.get("scored_classes") if isinstance(conventions, Mapping) else None
    if not isinstance(scored, list) or not scored:
        raise DataError(f"{file} is damaged: conventions.scored_classes is missing. {_AGAIN}.")
    known = list(config.get("data", {}).get("classes") or {})
    return (known if set(scored) <= set(known) else list(scored)), scored


def _read_rows(file: Path) -> list[dict[str, str]]:
    if not file.is_file():
        raise DataError(f"{file} is missing. {_AGAIN}.")
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            return list(_complete_rows(csv.DictReader(opened, strict=True), file))
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"{file} is damaged ({error}). {_AGAIN}.") from None


def _complete_rows(reader: Iterator[dict[str, str]], file: Path) -> Iterator[dict[str, str]]:
    for line, row in enumerate(reader, 2):
        # DictReader files surplus cells under None and fills missing ones with None
        if {"part", "image"} - row.keys() or None in row or None in row.values():
            raise DataError(f"{file} is damaged in line {line}. {_AGAIN}.")
        yield row


def _counts(
    rows: Sequence[Mapping[str, str]], class_names: Sequence[str], scored: Sequence[str], cluster: Cluster, folder: Path
) -> CaseCounts | None:
    if not rows or f"tp_{scored[0]}" not in rows[0]:
        return None
    try:
        return CaseCounts.from_rows(rows, class_names, [class_names.index(name) for name in scored], cluster=cluster)
    except DataError as error:
        raise DataError(f"{folder / 'per_image.csv'} is damaged: {error}") from None

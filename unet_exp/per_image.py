"""The table of images: one row per case, as CSV for people and Parquet for programs."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from torch import Tensor

from unet_exp.data._case import Case
from unet_exp.data._source import ImageSource
from unet_exp.files import write_atomically, write_csv
from unet_exp.metric import class_scores, image_scores, pixel_accuracy, thresholded_iou

Row = dict[str, Any]

_TEXT = ("part", "image", "patient", "institution")
_WHOLE = ("labelled_pixels", "tp_", "fp_", "fn_")


def case_rows(
    part: str, cases: Sequence[Case], matrices: Tensor, source: ImageSource, boundary: Tensor | None = None
) -> list[Row]:
    """One row per case: who it is, its scores, its scores per class; None where there is no score.

    Args:
        part: `train`, `val` or `test`.
        cases: The N cases.
        matrices: Their confusion matrices, (N, K, K) int64.
        source: The dataset.
        boundary: HD95 and surface Dice of the S scored classes, (N, S, 2).
    """
    overall = image_scores(matrices, classes=source.scored_classes, empty=empty_score(source))
    accuracy = pixel_accuracy(matrices)
    single = len(source.scored_classes) == 1
    per_class = [_class_columns(matrices, index, source.class_names[index]) for index in source.scored_classes]
    rows: list[Row] = []
    for i, case in enumerate(cases):
        row: Row = {
            "part": part,
            "image": case.id,
            "patient": case.patient,
            "institution": case.institution,
            "labelled_pixels": int(matrices[i].sum()),
            "dice": overall.dice[i],
            "iou": overall.iou[i],
            "accuracy": accuracy[i],
        }
        if boundary is not None:
            for suffix, (hd95, surface_dice) in zip(structure_suffixes(source), boundary[i], strict=True):
                row |= {f"hd95{suffix}": hd95, f"surface_dice{suffix}": surface_dice}
        if single:
            row["jaccard_065"] = thresholded_iou(overall.iou[i])
        for columns in per_class:
            row |= {name: values[i] for name, values in columns.items()}
        rows.append({name: _plain(value) for name, value in row.items()})
    return rows


def _class_columns(matrices: Tensor, index: int, name: str) -> dict[str, Tensor]:
    """Counts and scores of one class in every image, (N,) each."""
    hits, truth, prediction = matrices[:, index, index], matrices[:, index].sum(-1), matrices[:, :, index].sum(-1)
    scores = class_scores(matrices)
    return {
        f"tp_{name}": hits,
        f"fp_{name}": prediction - hits,
        f"fn_{name}": truth - hits,
        f"dice_{name}": scores.dice[:, index],
        f"iou_{name}": scores.iou[:, index],
        f"precision_{name}": hits.double() / prediction,
        f"recall_{name}": hits.double() / truth,
    }


def structure_suffixes(source: ImageSource) -> list[str]:
    """Ends of the names of boundary scores, one per scored class: none if there is a single one, else its name."""
    names = [source.class_names[index] for index in source.scored_classes]
    return [""] if len(names) == 1 else [f"_{name}" for name in names]


def empty_score(source: ImageSource) -> float:
    """The ISIC rule: nothing to find and nothing claimed is right. Several classes: no score."""
    return 1.0 if len(source.scored_classes) == 1 else math.nan


def _plain(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    number = value.item()
    return None if isinstance(number, float) and math.isnan(number) else number


def write_table(folder: Path, rows: Sequence[Row]) -> None:
    """Write per_image.csv and per_image.parquet, with the same columns; None is an empty cell."""
    write_csv(folder / "per_image.csv", rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: pa.array([row.get(name) for row in rows], _type_of(name, rows)) for name in columns})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_atomically(folder / "per_image.parquet", sink.getvalue().to_pybytes())


def _type_of(column: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    """Said rather than guessed: a column may be empty."""
    if column in _TEXT:
        return pa.string()
    if column.startswith(_WHOLE):
        return pa.int64()
    return pa.bool_() if isinstance(rows[0].get(column), bool) else pa.float64()

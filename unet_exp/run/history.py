"""history.csv: one row of numbers per epoch."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from unet_exp.files import write_csv

Row = dict[str, float]


def read_history(path: Path) -> list[Row]:
    """Rows written so far, empty if there are none; empty cells are left out of a row."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def train_seconds(rows: Sequence[Mapping[str, float]]) -> float:
    """Time that all epochs took together, in seconds."""
    return sum(row.get("seconds", 0.0) for row in rows)


def write_history(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write all rows, integers without a decimal point."""
    write_csv(path, [{key: _plain(value) for key, value in row.items()} for row in rows])


def _plain(value: float) -> float | int:
    return int(value) if float(value).is_integer() else float(value)

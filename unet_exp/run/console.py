"""What a person reads at the start and at the end of a run."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any


def print_table(title: str, rows: Sequence[tuple[str, Any]]) -> None:
    """Print a title and two columns; long values are not broken, so that paths can be copied."""
    width = max(len(name) for name, _ in rows)
    lines = [title, *(f"  {name:<{width}}  {value}" for name, value in rows)]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def score_rows(scores: Mapping[str, float], class_names: Sequence[str]) -> list[tuple[str, str]]:
    """The scores worth a line each: headline Dice and IoU, accuracy, then Dice per class."""
    rows = [(name, _number(scores[name])) for name in ("dice", "iou", "accuracy") if name in scores]
    per_class = [f"{name} {_number(scores[f'dice_{name}'])}" for name in class_names if f"dice_{name}" in scores]
    return [*rows, ("dice per class", ", ".join(per_class))]


def _number(value: float | None) -> str:
    return "absent" if value is None or value != value else f"{value:.4f}"

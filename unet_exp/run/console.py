"""What a person reads at the start and at the end of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def print_table(title: str, rows: Sequence[tuple[str, Any]]) -> None:
    """Print two columns, plain enough for a log file."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, str(value))
    Console(highlight=False).print(table)


def score_rows(scores: Mapping[str, float], class_names: Sequence[str]) -> list[tuple[str, str]]:
    """The scores worth a line each: headline Dice and IoU, accuracy, then Dice per class."""
    rows = [(name, _number(scores[name])) for name in ("dice", "iou", "accuracy") if name in scores]
    per_class = [f"{name} {_number(scores[f'dice_{name}'])}" for name in class_names if f"dice_{name}" in scores]
    return [*rows, ("dice per class", ", ".join(per_class))]


def _number(value: float | None) -> str:
    return "absent" if value is None or value != value else f"{value:.4f}"

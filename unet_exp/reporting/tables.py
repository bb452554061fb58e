"""results.csv: one line per run and section, for one's own analysis."""

from collections.abc import Sequence
from typing import Any

from unet_exp.reporting.comparison import COSTS
from unet_exp.reporting.models import differing_keys, flat_config
from unet_exp.reporting.sections import Section

_SCORES = ("dice", "iou", "accuracy")


def result_rows(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """Scores, costs and differing settings of every run.

    A cell that a spreadsheet would take for a formula starts with an apostrophe.

    Args:
        sections: The comparisons.
    """
    rows = []
    for section in sections:
        configs = {run.path: flat_config(run) for entry in section.entries for run in entry.model.runs}
        keys = differing_keys(list(configs.values()))
        for entry in section.entries:
            for run, evaluation in entry.scored_runs:
                names = [*_SCORES, *(f"{score}_{c}" for c in section.place.classes for score in _SCORES[:2]), *COSTS]
                row = {
                    "dataset": section.place.dataset,
                    "part": section.part,
                    "evaluation": section.place.label,
                    "split": section.place.split_hash,
                    "model": entry.name,
                    "seed": run.seed,
                    "fold": run.fold,
                    "run": str(run.path),
                    **{name: evaluation.number(name) for name in names},
                    **{f"config:{key}": configs[run.path].get(key, "") for key in keys},
                }
                rows.append({key: _cell(value) for key, value in row.items()})
    return rows


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value

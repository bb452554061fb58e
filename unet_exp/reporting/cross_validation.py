"""Which runs are folds of one cross-validation, and whether all of them are there."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence

from unet_exp.reporting.evaluations import Evaluation
from unet_exp.reporting.runs import Run

HELD_OUT = "val"
"""The part that a fold holds out."""
_NAMED = 3

Scored = tuple[Run, Evaluation]
"""A run, and what it was scored on the part that it held out."""


def cross_validation_hash(run: Run) -> str:
    """Equal for folds of one division of the same cases, and for no others.

    It is over the number of folds, the seed and the grouping of the split, the cases that are divided, their pixels,
    and the cases set aside for testing.
    """
    settings = run.split_settings
    how = [settings.get(key) for key in ("scheme", "folds", "seed", "group", "stratify")]
    cases = [sorted(divided_cases(run)), sorted(run.split.get("test") or []), run.split.get("contents") or {}]
    return hashlib.sha256(json.dumps([how, cases], sort_keys=True, default=str).encode()).hexdigest()[:16]


def divided_cases(run: Run) -> set[str]:
    """Ids of the cases that the folds divide among themselves."""
    return {str(name) for part in ("train", HELD_OUT) for name in run.split.get(part) or []}


def cross_validation_scheme(run: Run) -> str:
    """How the cases were divided, in words, for example `5 folds by patient, seed 0`."""
    settings = run.split_settings
    return f"{run.folds} folds by {settings.get('group', 'patient')}, seed {settings.get('seed', 0)}"


def fold_problem(scored: Sequence[Scored]) -> str:
    """Why folds of one seed are no complete cross-validation, in words; empty if they are one.

    Args:
        scored: Runs of one model and one seed that differ in their fold alone, and their evaluations.
    """
    total = scored[0][0].folds
    times = Counter(run.fold for run, _ in scored)
    missing = [str(fold) for fold in range(total) if fold not in times]
    if missing:
        return f"{'fold' if len(missing) == 1 else 'folds'} {', '.join(missing)} of {total} missing"
    twice = [str(fold) for fold, count in times.items() if count > 1]
    if twice:
        return f"fold {', '.join(twice)} comes more than once"
    if len({(e.is_global, tuple(e.class_names), tuple(e.scored_classes)) for _, e in scored}) > 1:
        return "the folds were scored by different conventions; score them again with unet_exp.evaluate"
    return _case_problem(scored)


def _case_problem(scored: Sequence[Scored]) -> str:
    """Whether the folds held out, and were scored on, every case exactly once."""
    held_out = Counter(name for run, _ in scored for name in map(str, run.split.get(HELD_OUT) or []))
    several = sorted(name for name, count in held_out.items() if count > 1)
    if several:
        return f"{_listed(several)} held out by more than one fold: the folds are not of one division"
    never = sorted(divided_cases(scored[0][0]) - held_out.keys())
    if never:
        return f"{_listed(never)} held out by no fold: the folds are not of one division"
    for run, evaluation in scored:
        own = {str(name) for name in run.split.get(HELD_OUT) or []}
        if evaluation.counts is not None and own != set(evaluation.counts.ids.tolist()):
            return f"fold {run.fold} was scored on other cases than it held out; score it again with unet_exp.evaluate"
    return ""


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more

"""What a search has found: search.csv, the table, the best trial as a command, what mattered."""

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from unet_exp.errors import counted
from unet_exp.files import write_csv
from unet_exp.search.space import Space
from unet_exp.search.study import SearchStudy, reason_of, run_of
from unet_exp.sweep.job import JobState

_STATES = {
    TrialState.COMPLETE: JobState.FINISHED,
    TrialState.PRUNED: JobState.PRUNED,
    TrialState.FAIL: JobState.FAILED,
    TrialState.RUNNING: "open",
    TrialState.WAITING: "open",
}
_SHOWN = 20
_ENOUGH = 20
"""Finished trials that importances need; of fewer they are noise."""


def write_trials(folder: Path, study: SearchStudy, space: Space) -> None:
    """Write search.csv: a row per trial of all launches."""
    rows = [_row(trial, space) for trial in study.trials()]
    keys = [parameter.key for parameter in space.parameters]
    columns = ["trial", "state", "score", "epochs", *keys, "run", "started", "ended", "reason"]
    write_csv(folder / "search.csv", rows, columns)


def _row(trial: FrozenTrial, space: Space) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "state": str(_STATES[trial.state]),
        "score": trial.value,
        "epochs": trial.last_step or "",
        **_values(trial, space),
        "run": run_of(trial),
        "started": trial.datetime_start and trial.datetime_start.astimezone().isoformat(),
        "ended": trial.datetime_complete and trial.datetime_complete.astimezone().isoformat(),
        "reason": reason_of(trial),
    }


def _values(trial: FrozenTrial, space: Space) -> dict[str, str]:
    """Values as they stood on the command line, by key."""
    known = [parameter for parameter in space.parameters if parameter.key in trial.params]
    return {p.key: p.override(trial.params[p.key]).partition("=")[2] for p in known}


def trial_table(study: SearchStudy, space: Space, score: str) -> Table:
    """The best trials first; those that failed last.

    Args:
        study: The study.
        space: What was searched.
        score: Name of the score.
    """
    order = {TrialState.COMPLETE: 0, TrialState.PRUNED: 1, TrialState.RUNNING: 2, TrialState.FAIL: 3}
    trials = sorted(study.trials(), key=lambda t: (order.get(t.state, 2), -(t.value if t.value is not None else -1e9)))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("trial", "state", "epochs", score, *(parameter.key for parameter in space.parameters)):
        table.add_column(column, overflow="fold", justify="right" if column in ("trial", "epochs") else "left")
    for trial in trials[:_SHOWN]:
        shown = "" if trial.value is None else f"{trial.value:.4f}"
        values = _values(trial, space).values()
        table.add_row(str(trial.number), str(_STATES[trial.state]), str(trial.last_step or ""), shown, *values)
    if len(trials) > _SHOWN:
        table.caption, table.caption_justify = (
            f"and {counted(len(trials) - _SHOWN, 'more trial')}, see search.csv",
            "left",
        )
    return table


def trial_counts(study: SearchStudy) -> str:
    """How many trials there are, and what became of them."""
    states = Counter(str(_STATES[trial.state]) for trial in study.trials())
    named = ", ".join(f"{number} {state}" for state, number in states.items())
    return f"{counted(states.total(), 'trial')}: {named}" if named else "no trials"


def best_trial(study: SearchStudy) -> FrozenTrial | None:
    """The finished trial with the highest score, None before the first."""
    complete = [t for t in study.trials() if t.state is TrialState.COMPLETE and t.value is not None]
    return max(complete, key=lambda trial: trial.value or 0.0, default=None)


def commands(folder: Path, space: Space, trial: FrozenTrial, flags: Sequence[str]) -> tuple[str, str]:
    """Command lines that train a trial again, once and with several seeds, and score it on the test images.

    Args:
        folder: Folder of the search.
        space: What was searched.
        trial: The trial.
        flags: Options of Hydra's that every job gets.
    """
    kept = [o for o in space.fixed if o.partition("=")[0] not in ("name", "test_after_training")]
    arguments = [*flags, *kept, *space.drawn(trial.params), f"name={folder.name}-best"]
    program = ["python", "-m", "unet_exp.train"]
    seedless = [argument for argument in arguments if argument.partition("=")[0] != "seed"]
    return shlex.join([*program, *arguments]), shlex.join([*program, "-m", *seedless, "seed=0,1,2"])


def importances(study: SearchStudy) -> dict[str, float]:
    """Share of each parameter in what tells the best tenth of the trials from the others, by key (PED-ANOVA).

    Source: Watanabe et al., IJCAI 2023. Empty with one parameter, or with too few finished trials.
    """
    complete = sum(trial.state is TrialState.COMPLETE for trial in study.trials())
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    try:
        shares = (
            optuna.importance.get_param_importances(study.study, evaluator=evaluator) if complete >= _ENOUGH else {}
        )
    except (ValueError, RuntimeError):  # all scores are the same
        return {}
    return shares if len(shares) > 1 else {}

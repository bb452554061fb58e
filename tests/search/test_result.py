"""What a search tells at its end."""

import csv
import io
import shlex

import pytest
from optuna.trial import TrialState
from rich.console import Console

from tests.search.launches import Launch, ask
from unet_exp.search.result import best_trial, commands, importances, trial_counts, trial_table, write_trials


def searched(folder, number, score=lambda p: 1 - p["x"] ** 2 + 0.01 * (p["kind"] == "good")) -> Launch:
    """A search with so many finished trials, one that was pruned, one that failed and one that is open."""
    launch = Launch(
        folder, ["model=unet", "seed=7", "name=study", "test_after_training=false", *SPACE], sampler="random"
    )
    for _ in range(number):
        trial = ask(launch.study)
        launch.study.report(trial, {1: 0.1, 2: 0.2})
        launch.study.tell(trial, TrialState.COMPLETE, score(trial.params))
    pruned, failed, _ = (ask(launch.study) for _ in range(3))
    launch.study.report(pruned, {1: 0.9})
    launch.study.tell(pruned, TrialState.PRUNED)
    launch.study.tell(failed, TrialState.FAIL, reason="cosmic ray")
    return launch


SPACE = ["x=interval(0,1)", "kind=choice(good,bad)"]


def test_the_table_of_trials(tmp_path):
    launch = searched(tmp_path, 3)
    write_trials(tmp_path, launch.study, launch.space)
    with (tmp_path / "search.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["finished"] * 3 + ["pruned", "failed", "open"]
    assert list(rows[0])[:6] == ["trial", "state", "score", "epochs", "x", "kind"]
    assert rows[0]["epochs"] == "2"
    assert rows[3]["score"] == "0.9"
    assert (rows[4]["reason"], rows[4]["score"], rows[5]["ended"]) == ("cosmic ray", "", "")
    assert trial_counts(launch.study) == "6 trials: 3 finished, 1 pruned, 1 failed, 1 open"


def shown(launch) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=120).print(trial_table(launch.study, launch.space, "val/dice"))
    return file.getvalue().splitlines()


def test_the_best_come_first_and_the_rest_is_counted(tmp_path):
    lines = shown(searched(tmp_path / "few", 3))
    assert lines[0].split() == ["trial", "state", "epochs", "val/dice", "x", "kind"]
    assert [line.split()[1] for line in lines[1:]] == ["finished"] * 3 + ["pruned", "open", "failed"]
    scores = [float(line.split()[3]) for line in lines[1:4]]
    assert scores == sorted(scores, reverse=True)
    lines = shown(searched(tmp_path / "many", 20))
    assert len(lines) == 22
    assert lines[-1].strip() == "and 3 more trials, see search.csv"


def test_the_best_trial_is_a_finished_one_and_can_be_trained_again(tmp_path):
    folder = tmp_path / "study"
    launch = searched(folder, 4)
    best = best_trial(launch.study)
    assert best.value == max(t.value for t in launch.study.trials() if t.state is TrialState.COMPLETE)
    once, seeds = commands(folder, launch.space, best, ["--config-dir", "my conf"])
    values = launch.space.drawn(best.params)
    begin = ["python", "-m", "unet_exp.train"]
    flags = ["--config-dir", "my conf"]
    assert shlex.split(once) == [*begin, *flags, "model=unet", "seed=7", *values, "name=study-best"]
    assert shlex.split(seeds) == [*begin, "-m", *flags, "model=unet", *values, "name=study-best", "seed=0,1,2"]


def test_before_the_first_trial_has_finished(tmp_path):
    launch = Launch(tmp_path)
    assert best_trial(launch.study) is None
    assert trial_counts(launch.study) == "no trials"
    assert shown(launch)


def test_what_matters_is_told_when_there_is_enough_to_tell(tmp_path):
    assert importances(searched(tmp_path / "few", 19).study) == {}
    shares = importances(searched(tmp_path / "many", 40).study)
    assert shares["x"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(searched(tmp_path / "same", 20, lambda p: 0.5).study).keys() <= {"x", "kind"}

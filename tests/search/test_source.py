"""Trials as jobs of the loop: counted, told, pruned, shared and continued; with real processes, without training."""

import csv
import json
import random
import signal
import threading
import time
from collections import Counter

import pytest

from tests.search import launches
from tests.search.launches import TRAINING, Launch, ask, start
from tests.sweep.jobs import calls
from unet_exp.run.signals import StopRequest
from unet_exp.search import result
from unet_exp.sweep import source


def trained(folder):
    """How often each job has reached its end."""
    return {file.parent.name: len(file.read_text()) for file in folder.glob("*/done")}


def test_so_many_trials_finish_and_their_scores_are_told(tmp_path):
    launch = Launch(tmp_path, n_trials=5, sampler="random")
    seen = launch.run(n_jobs=2)
    assert launch.states() == ["COMPLETE"] * 5
    assert launch.source.succeeded
    assert len(launch.jobs) == 5
    for trial in launch.study.trials():
        expected = (1 - float(f"{trial.params['x']:.6g}")) * (1 if trial.params["kind"] == "good" else 0.5)
        assert trial.value == pytest.approx(expected)
        assert list(trial.intermediate_values) == [1, 2, 3, 4]
    assert f"best so far: val/dice {launch.study.study.best_value:.4f}" in seen
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "finished"


def test_the_second_launch_adds_what_is_missing(tmp_path):
    Launch(tmp_path, n_trials=2).run()
    known = calls(tmp_path)
    again = Launch(tmp_path, n_trials=2)
    again.run()
    assert calls(tmp_path) == known
    assert again.source.succeeded
    Launch(tmp_path, n_trials=3).run()
    assert len(calls(tmp_path)) == 3
    assert set(trained(tmp_path).values()) == {1}


def test_values_that_were_trained_already_are_not_trained_again(tmp_path):
    launch = Launch(tmp_path, ["kind=good,bad"], n_trials=8, sampler="random")
    launch.run(n_jobs=3)
    assert launch.states() == ["COMPLETE"] * 8
    assert len(calls(tmp_path)) == len(launch.jobs) == 2
    assert {trial.value for trial in launch.study.trials()} == {1.0, 0.5}


@pytest.mark.slow
def test_failures_are_told_and_replaced(tmp_path):
    crash = "if {x} > 0.5: sys.exit('error: too large')\n" + TRAINING
    launch = Launch(tmp_path, what=crash, n_trials=4, sampler="random", max_failures_in_a_row=20)
    launch.run()
    states = Counter(launch.states())
    assert states["COMPLETE"] == 4
    assert states["FAIL"] >= 1
    assert all(
        trial.state.name == ("FAIL" if trial.params["x"] > 0.5 else "COMPLETE") for trial in launch.study.trials()
    )
    assert launch.source.succeeded
    result.write_trials(tmp_path, launch.study, launch.space)
    with (tmp_path / "search.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["reason"] for row in rows if row["state"] == "failed"} == {"too large"}


def test_many_failures_in_a_row_end_the_search(tmp_path):
    launch = Launch(tmp_path, what="sys.exit('error: no such disk')", n_trials=10, max_failures_in_a_row=3)
    launch.run()
    assert launch.states() == ["FAIL"] * 3
    assert not launch.source.succeeded
    assert "3 trials in a row have failed, the last one with: no such disk" in launch.source.trouble
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "failed"


def test_values_that_have_failed_are_not_tried_again_in_the_same_launch(tmp_path):
    crash = "if '{kind}' == 'bad': sys.exit(3)\n" + TRAINING
    launch = Launch(tmp_path, ["kind=good,bad"], what=crash, n_trials=6, sampler="random", max_failures_in_a_row=50)
    launch.run()
    assert Counter(launch.states())["COMPLETE"] == 6
    assert Counter(line.split()[0] for line in calls(tmp_path)) == {"good-0.0": 1, "bad-0.0": 1}


def test_a_run_without_a_score_has_failed(tmp_path):
    launch = Launch(tmp_path, what="pass", n_trials=2, max_failures_in_a_row=2)
    launch.run()
    assert launch.states() == ["FAIL", "FAIL"]
    assert "its history has no val/dice" in launch.source.trouble


def test_a_grid_is_tried_point_by_point_and_its_failures_by_the_next_launch(tmp_path):
    space = ["x=range(0,1,0.25)", "kind=good,bad"]
    crash = "if {x} == 0.5 and not (folder / 'seen').exists(): (folder / 'seen').touch(); sys.exit(3)\n" + TRAINING
    launch = Launch(tmp_path, space, what=crash, sampler="grid")
    launch.run(n_jobs=2)
    assert Counter(launch.states()) == {"COMPLETE": 6, "FAIL": 2}
    assert "2 points of the grid failed" in launch.source.trouble
    again = Launch(tmp_path, space, what=crash, sampler="grid")
    again.run(n_jobs=2)
    assert Counter(again.states()) == {"COMPLETE": 8, "FAIL": 2}
    assert again.source.succeeded
    assert set(trained(tmp_path).values()) == {1}
    assert len(trained(tmp_path)) == 8


def test_a_grid_whose_failures_are_left_alone(tmp_path):
    crash = "sys.exit(3) if '{kind}' == 'bad' else None\n" + TRAINING
    Launch(tmp_path, ["kind=good,bad"], what=crash, sampler="grid").run()
    again = Launch(tmp_path, ["kind=good,bad"], what=TRAINING, sampler="grid")
    again.run(retry_failed=False)
    assert not again.source.succeeded
    assert Counter(line.split()[0] for line in calls(tmp_path)) == {"good-0.0": 1, "bad-0.0": 1}


@pytest.mark.slow
def test_bad_trials_are_pruned_and_stay_so(tmp_path, monkeypatch):
    monkeypatch.setattr("unet_exp.search.source._WATCH", 0.05)
    slow = {"seconds": 0.3, "pruner": "median", "n_startup_trials": 1, "n_warmup_epochs": 1}
    space = ["x=range(0.1,0.9,0.7)", "kind=good,bad"]  # the grid begins with the best
    launch = Launch(tmp_path, space, sampler="grid", **slow)
    seen = launch.run()
    assert launch.states() == ["COMPLETE", "PRUNED", "PRUNED", "PRUNED"]
    assert launch.source.succeeded
    assert "pruned      bad-0.1  bad-0.1  worse than others after" in seen
    counts = json.loads((tmp_path / "status.json").read_text())
    assert counts["state"] == "finished"
    assert counts["counts"] == {"finished": 1, "pruned": 3}
    run = tmp_path / "bad-0.1"
    assert json.loads((run / "status.json").read_text())["state"] == "pruned"
    assert launch.study.trials()[1].value == pytest.approx(0.45 * launch.study.trials()[1].last_step / 4)

    known = calls(tmp_path)
    (tmp_path / "search.journal").unlink()  # even a new study takes them as they are
    again = Launch(tmp_path, space, sampler="grid", **slow)
    again.run()
    assert again.states() == ["COMPLETE", "PRUNED", "PRUNED", "PRUNED"]
    assert calls(tmp_path) == known


def test_a_plain_sweep_trains_pruned_jobs_to_their_end(tmp_path):
    from tests.sweep.jobs import job
    from tests.sweep.test_runner import run

    made = job(tmp_path, "a")
    made.folder.path.mkdir()
    made.folder.write_status("pruned", "worse than others")
    run(tmp_path, [made])
    assert str(made.state) == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_search_keeps_its_trials_open_and_continues_them(number, tmp_path):
    launch = Launch(tmp_path, n_trials=3, seconds=0.5)
    request = StopRequest()

    def stop():
        while len(list(tmp_path.glob("*/history.csv"))) < 2:
            time.sleep(0.02)
        request.handle(number, None)

    threading.Thread(target=stop).start()
    launch.run(n_jobs=2, request=request)
    assert launch.states() == ["RUNNING", "RUNNING"]
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "interrupted"
    again = Launch(tmp_path, n_trials=3)
    again.run(n_jobs=2)
    assert again.states() == ["COMPLETE"] * 3
    assert len(trained(tmp_path)) == 3


def test_a_trial_that_nobody_works_at_is_taken_over(tmp_path):
    """Killed between asking and starting."""
    launch = Launch(tmp_path, n_trials=2)
    left = ask(launch.study)
    launch.run()
    assert launch.states() == ["COMPLETE"] * 2
    assert launch.study.trials()[left.number].value is not None


def test_a_trial_that_was_trained_but_not_told_is_told(tmp_path):
    launch = Launch(tmp_path, n_trials=1)
    made = launches.maker(tmp_path)(ask(launch.study).params)
    made.folder.path.mkdir()
    made.folder.write_status("finished")
    made.folder.history_file.write_text("epoch,step,val/dice\n0,1,0.25\n1,2,0.125\n")
    launch.run()
    assert launch.states() == ["COMPLETE"]
    assert launch.study.trials()[0].value == 0.25
    assert not calls(tmp_path)


def test_a_trial_that_another_launch_has_told_is_dropped(tmp_path):
    from optuna.trial import TrialState

    launch = Launch(tmp_path, n_trials=2)
    job = launch.source.next_job()
    other = Launch(tmp_path, n_trials=2)
    other.study.tell(other.study.open_trials(job.label)[0], TrialState.FAIL)
    assert not launch.source.take(job)
    launch.run()
    assert sorted(launch.states()) == ["COMPLETE", "COMPLETE", "FAIL"]


@pytest.mark.slow
def test_launches_that_are_killed_again_and_again_lose_no_trial_and_train_none_twice(tmp_path):
    """Two launches at a time, each with two jobs, killed at random; the last two run to the end."""
    chance = random.Random(0)
    for _ in range(3):
        both = [start(tmp_path, 2, n_trials=12, seconds=0.1, sampler="random") for _ in range(2)]
        time.sleep(chance.uniform(1.0, 3.0))
        for process in both:
            process.kill()
            process.wait()
    both = [start(tmp_path, 2, n_trials=12, seconds=0.05, sampler="random") for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    launch = Launch(tmp_path, n_trials=12)
    states = Counter(launch.states())
    assert states["COMPLETE"] == 12, said
    assert not states["RUNNING"]
    assert states["FAIL"] <= 6  # killed while their values were being written, at most one by each kill
    assert len(trained(tmp_path)) == 12
    assert set(trained(tmp_path).values()) == {1}


def test_a_launch_waits_for_the_trials_of_another_and_takes_them_over_when_it_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "LOOK_AGAIN", 0.2)
    monkeypatch.setattr("unet_exp.search.source.LOOK_AGAIN", 0.2)
    other = start(tmp_path, 1, n_trials=1, seconds=600)
    while not calls(tmp_path):
        assert other.poll() is None, other.communicate()[0]
        time.sleep(0.05)
    launch = Launch(tmp_path, n_trials=1)
    waiting = threading.Thread(target=launch.run)
    waiting.start()
    time.sleep(1)
    assert len(calls(tmp_path)) == 1
    other.kill()
    other.wait()
    # Its job is a script that does not notice this, as trainings do.
    (file,) = tmp_path.glob("*/job.json")
    import os

    os.kill(json.loads(file.read_text())["pid"], signal.SIGKILL)
    waiting.join(timeout=60)
    assert not waiting.is_alive()
    assert launch.states() == ["COMPLETE"]
    assert len(calls(tmp_path)) == 2

"""Reading run folders: what is found, what is left out and why."""

import json
import shutil

import pytest

from tests.reporting.folders import FakeRun, write_evaluation, write_run
from unet_exp.errors import UserError
from unet_exp.reporting.runs import find_run_folders, read_runs


def left_out(folder):
    inventory = read_runs(find_run_folders([str(folder)]))
    assert inventory.runs == []
    (item,) = inventory.left_out
    return item


@pytest.mark.parametrize("pattern", ["{0}", "{0}/*", "{0}/unet-*", "{0}/../runs/*/"])
def test_runs_are_found_by_folder_and_by_glob(tmp_path, pattern):
    run = write_run(tmp_path / "runs", FakeRun())
    assert [f.resolve() for f in find_run_folders([pattern.format(tmp_path / "runs")])] == [run.resolve()]


def test_a_run_is_found_once_and_a_bracket_in_its_name_is_no_pattern(tmp_path):
    run = write_run(tmp_path, FakeRun(name="unet[1]-bcss-00000001"))
    assert find_run_folders([str(run), str(tmp_path), f"{tmp_path}/*"]) == [run]


def test_a_run_that_a_link_leads_to_is_found_once(tmp_path):
    run = write_run(tmp_path / "runs", FakeRun())
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    assert find_run_folders([str(tmp_path / "runs"), f"{tmp_path}/link/*"]) == [run]


def test_nothing_found_names_the_pattern(tmp_path):
    with pytest.raises(UserError, match=r"no run folder matches .*nowhere"):
        find_run_folders([str(tmp_path / "nowhere" / "*")])


@pytest.mark.parametrize("state", ["running", "failed", "interrupted"])
def test_an_unfinished_run_is_listed(tmp_path, state):
    item = left_out(write_run(tmp_path, FakeRun(state=state)))
    assert state in item.reason
    assert not item.damaged


def test_a_run_that_was_never_scored_is_listed_with_the_command(tmp_path):
    run = write_run(tmp_path, FakeRun())
    (run / "metrics.json").unlink()
    item = left_out(run)
    assert f"unet_exp.evaluate run={run}" in item.reason
    assert not item.damaged


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def without_scores(file):
    file.write_text(json.dumps({"conventions": {}}))


def contradict(file):
    lines = file.read_text().splitlines()
    cells = lines[1].split(",")
    cells[lines[0].split(",").index("tp_tumor")] = "999999999"
    file.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("metrics.json", cut),
        ("metrics.json", without_scores),
        ("per_image.csv", cut),
        ("per_image.csv", contradict),
        ("per_image.csv", lambda file: file.write_bytes(b"\xff\xfe\x00")),
        ("per_image.csv", lambda file: file.unlink()),
        ("status.json", cut),
        ("split.json", lambda file: file.write_text("{}")),
        ("history.csv", lambda file: file.write_text("epoch,val/dice\n0,high\n")),
        ("config.yaml", lambda file: file.write_text("[1, 2")),
        ("config.yaml", lambda file: file.write_text("- 1")),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, damage):
    run = write_run(tmp_path, FakeRun())
    damage(run / name)
    item = left_out(run)
    assert item.damaged
    assert name in item.reason


def test_one_damaged_run_does_not_hide_the_others(two_models):
    first = sorted(two_models.iterdir())[0]
    cut(first / "metrics.json")
    inventory = read_runs(find_run_folders([str(two_models)]))
    assert len(inventory.runs) == 5
    assert [item.path for item in inventory.left_out] == [first]


def test_a_damaged_later_evaluation_is_left_out_alone(tmp_path):
    run = write_run(tmp_path, FakeRun())
    later = run / "evaluation" / "ph2-ph2-test"
    later.mkdir(parents=True)
    write_evaluation(later, FakeRun(parts=("test",)))
    cut(later / "metrics.json")
    inventory = read_runs([run])
    assert [e.label for e in inventory.runs[0].evaluations] == ["", ""]
    assert inventory.left_out[0].path == later


def test_counts_are_those_of_the_file(tmp_path):
    run = write_run(tmp_path, FakeRun(images=5))
    (evaluation,) = [e for e in read_runs([run]).runs[0].evaluations if e.part == "val"]
    metrics = json.loads((run / "metrics.json").read_text())
    hits = [metrics["val"]["confusion"][k][k] for k in range(5)]
    assert evaluation.counts.true_positives.sum(0).tolist() == hits
    assert evaluation.number("gmacs") == 5.0
    assert evaluation.number("nothing") is None


def test_an_old_run_without_counts_is_still_read(tmp_path):
    run = write_run(tmp_path, FakeRun(counts=False))
    assert all(evaluation.counts is None for evaluation in read_runs([run]).runs[0].evaluations)


def test_pictures_are_optional(tmp_path, settings):
    from unet_exp.reporting.cases import read_cases

    run = write_run(tmp_path, FakeRun())
    evaluation = read_runs([run]).runs[0].evaluations[0]
    assert [case.label for case in read_cases(evaluation, side=32)] == ["best", "median", "worst"]
    for file in (run / "cases").glob("test-worst-*"):
        cut(file)
    assert [case.label for case in read_cases(evaluation, side=32)] == ["best", "median"]
    shutil.rmtree(run / "cases")
    assert read_cases(evaluation, side=32) == []


def test_pictures_outside_the_folder_are_not_read(tmp_path):
    from unet_exp.reporting.cases import read_cases

    run = write_run(tmp_path, FakeRun())
    secret = tmp_path / "test-secret.jpg"
    secret.write_bytes(next((run / "cases").glob("*.jpg")).read_bytes())
    entry = {
        "part": "test",
        "label": "best",
        "id": "x",
        "dice": 1.0,
        "files": {"image": f"test-/../../../{secret.name}"},
    }
    (run / "cases" / "cases.json").write_text(json.dumps([entry]))
    assert read_cases(read_runs([run]).runs[0].evaluations[0], side=32) == []

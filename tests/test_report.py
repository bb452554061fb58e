"""``python -m unet_exp.report`` from the outside."""

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.reporting.folders import FakeRun, write_run

FAST = ("draws=200", "picture_side=64")


@pytest.mark.slow
def test_the_report_is_written_beside_the_runs_without_torch(tmp_path):
    write_run(tmp_path / "sweep", FakeRun("unet", images=6, patients=6, parts=("val",)))
    write_run(tmp_path / "sweep", FakeRun("resunet", images=6, patients=6, parts=("val",), quality=0.9))
    code = (
        f"import sys; sys.argv = ['report', 'runs={tmp_path}/sweep', *{FAST!r}]\n"
        "from unet_exp.report import main\n"
        "main()\n"
        "heavy = {'torch', 'lightning', 'albumentations', 'wandb', 'cv2', 'pandas'} & sys.modules.keys()\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    page = tmp_path / "sweep" / "report" / "report.html"
    assert str(page) in done.stdout
    assert {p.name for p in page.parent.iterdir()} == {
        "report.html",
        "report.md",
        "results.csv",
        "results.tex",
        "figures",
    }
    assert not list(page.parent.glob(".*"))  # nothing half-written


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["runs=nothing/*"], "no run folder matches 'nothing/*'"),
        ([], "runs: this value must be given"),
        (["runs=.", "part=tset"], "part: Input should be 'auto', 'train', 'val' or 'test', got 'tset'."),
        (["runs=.", "drawss=10"], "drawss"),
        (["runs=.", "level=2"], "level: Input should be less than 1, got 2."),
    ],
)
def test_a_mistake_is_one_clear_message(arguments, expected, run_module):
    done = run_module("unet_exp.report", *arguments)
    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_damaged_run_is_named_and_the_exit_code_says_so(tmp_path, run_module):
    write_run(tmp_path / "runs", FakeRun("unet", images=6))
    broken = write_run(tmp_path / "runs", FakeRun("resunet", images=6))
    (broken / "metrics.json").write_text("{")
    write_run(tmp_path / "runs", FakeRun("late", state="running"))
    done = run_module("unet_exp.report", "runs=runs/*", "output=here", *FAST)
    assert done.returncode == 1
    assert f"without damaged runs: runs/{broken.name}" in done.stderr
    page = (tmp_path / "here" / "report.html").read_text()
    assert "metrics.json is damaged" in page
    assert "not finished (running)" in page


def test_only_unfinished_runs_give_no_report(tmp_path, run_module):
    write_run(tmp_path / "runs", FakeRun(state="failed"))
    done = run_module("unet_exp.report", "runs=runs")
    assert done.returncode == 1
    assert "not finished (failed)" in done.stderr
    assert not (tmp_path / "runs" / "report").exists()


def test_help_lists_the_keys(run_module):
    done = run_module("unet_exp.report", "--help")
    assert done.returncode == 0
    assert "case_runs" in done.stdout

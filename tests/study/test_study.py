"""A study as a user starts it: one command, every arm once, the report by their names; the second time, nothing."""

import csv
import json
import os
import subprocess
import sys

import pytest

from benchmarks.study_cost import arms_of
from tests.conftest import REPOSITORY
from tests.study.test_arms import ARMS, model_of
from tests.test_config import options

PRESENT = [arm for arm in ARMS if model_of(arm) in options("model")]


def study(root, *overrides: str) -> list[str]:
    """Every arm of the study that can be built here, as small as it gets."""
    return [
        "experiment=study_bcss_small",
        f"arm={','.join(PRESENT)}",
        f"data.root={root}",
        "data.split.scheme=official",
        "data.split.fold=0",
        "seed=0",
        "study.mpp=0.5",
        "study.patch_size=32",
        "study.batch_size=4",
        "study.steps_per_epoch=2",
        "study.epochs=1",
        "budget=none",
        "model.base_channels=4",
        "loader.num_workers=0",
        "trainer=cpu",
        *overrides,
    ]


@pytest.mark.slow
def test_one_command_runs_all_arms_and_compares_them_by_name(bcss_root, tmp_path, run_module):
    def launch() -> subprocess.CompletedProcess[str]:
        return run_module("unet_exp.train", "-m", *study(bcss_root), timeout=1200)

    done = launch()
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "outputs" / "study_bcss_small"
    with (folder / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["arm"] for row in rows) == PRESENT
    for file in folder.glob("*/metrics.json"):
        assert json.loads(file.read_text())["checkpoint"] == "last"
        assert file.parent.name.partition("-bcss-")[0] in PRESENT
    with (folder / "report" / "results.csv").open(newline="") as file:
        compared = {row["model"] for row in csv.DictReader(file)}
    assert compared == set(PRESENT)
    text = (folder / "report" / "report.md").read_text()
    assert "leads on this very data" not in text  # the baseline was chosen before
    page = (folder / "report" / "report.html").read_text().replace("<wbr>", "")  # where a long name may be broken
    assert [arm for arm in PRESENT if f"{arm}<" not in page] == []

    done = launch()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(PRESENT)} jobs: {len(PRESENT)} finished" in done.stdout
    assert {json.loads(file.read_text())["attempts"] for file in folder.glob("*/job.json")} == {1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["experiment=study_bcss"], 1, "arm: study_bcss is a sweep over arm, seed. Start it with -m"),
        (["experiment=study_bcss", "--cfg", "job"], 0, "scored_checkpoint: last"),
        (["experiment=study_bcss", "--help"], 0, "unet_exp.data.bcss.BCSS"),
        (["--help"], 0, "unet_exp.data.bcss_demo.BCSSDemo"),
        (["model=unet", "--help"], 0, "unet_exp.model.unet.UNet"),
        (["experiment=study_bcss", "arm=null"], 1, "arm: null is no option of this group"),
    ],
)
def test_questions_and_half_commands_are_answered(arguments, code, told, run_module, tmp_path):
    done = run_module("unet_exp.train", *arguments)
    assert done.returncode == code
    assert told in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_full_study_is_39_jobs_and_its_estimate_counts_them_too(tmp_path):
    code = (
        "import sys\n"
        "from unet_exp.sweep import session\n"
        "session.Runner.run = lambda self, request: None\n"
        "sys.argv = ['train', '-m', 'experiment=study_bcss', 'data.root=/none', 'sweep.report=false']\n"
        "from unet_exp.train import main\n"
        "main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert f"Sweep of 39 jobs: {tmp_path}/outputs/study_bcss\n" in done.stdout, done.stderr
    assert arms_of(["experiment=study_bcss"]).total() == 39

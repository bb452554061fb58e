"""The README is true: its commands run, its tables name what exists."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from tests import fake
from tests.conftest import REPOSITORY
from tests.prediction.slides import write_pyramid
from tests.runs import run, tiny
from tests.test_config import options
from unet_exp.config import compose_config

README = (REPOSITORY / "README.md").read_text()
LINES = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
PYTHON = [line for line in LINES if line.startswith("python -m ")]
SEVERAL_PROCESSES = [line for line in LINES if "trainer=ddp" in line]
TINY = ["model.base_channels=4", "loader.num_workers=0", "trainer=debug", "loader.batch_size=2"]


def arguments(line: str) -> list[str]:
    words = shlex.split(line)
    return words[words.index("-m") + 2 :]


def choice(given: list[str], group: str) -> str | None:
    return next((a.partition("=")[2] for a in given if a.startswith(f"{group}=")), None)


def on_tiny_data(given: list[str], tmp_path) -> list[str]:
    """The same command on a tiny dataset with the true layout."""
    data = choice(given, "data") or compose_config("train", [a for a in given if a.startswith("experiment=")]).data
    if not isinstance(data, str):
        data = "bcss" if "mpp" in data else "isic2018"
    kept = [a for a in given if not a.startswith(("data.root", "trainer", "loader.batch_size", "data.image_size"))]
    size = ["data.patch_size=32", "data.patches_per_epoch=8"] if data.startswith("bcss") else ["data.image_size=32"]
    if not data.endswith("_demo"):
        size.append(f"data.root={fake.MAKERS[data](tmp_path / 'data')}")
    return [*kept, *TINY, *size]


def test_every_line_is_a_command_that_is_tested_here():
    assert len(PYTHON) >= 10
    assert not [line for line in LINES if not line.startswith(("python -m unet_exp.", "make ", "torchrun "))]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make ")])
def test_make_targets_exist(line):
    done = subprocess.run(["make", "-n", *line.split()[1:]], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", [line for line in PYTHON if "--" in line])
def test_questions_are_answered(line, run_module):
    done = run_module("unet_exp.train", *arguments(line))
    assert done.returncode == 0, done.stderr
    assert "num_classes" in done.stdout


TRAINING = [
    line
    for line in PYTHON
    if "unet_exp.train" in line and "--" not in line and "resume=" not in line and line not in SEVERAL_PROCESSES
]


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in TRAINING if " -m " not in line[10:]])
def test_training_commands_run(line, tmp_path, run_module):
    done = run_module("unet_exp.train", *on_tiny_data(arguments(line), tmp_path))
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("outputs/*/*/metrics.json"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("line", SEVERAL_PROCESSES)
def test_trainings_in_several_processes_run(line, tmp_path):
    program = shlex.split(line)[: -len(arguments(line))]
    program = [sys.executable if word == "python" else word for word in program]
    if program[0] == "torchrun":
        program[:1] = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--rdzv-backend=c10d",
            "--rdzv-endpoint=localhost:0",
        ]
    given = [a for a in on_tiny_data(arguments(line), tmp_path) if a != "trainer=debug"]
    given += [a for a in arguments(line) if a.startswith("trainer")]
    given += ["trainer.accelerator=cpu", "trainer.max_steps=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [*program, *given], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("outputs/*/*/metrics.json"))) == 1


def several_trainings(kind: str) -> str:
    """The one command with -m of this kind."""
    found = [line for line in TRAINING if " -m " in line[10:] and kind in line]
    (line,) = found if kind else [line for line in TRAINING if " -m " in line[10:] and "hydra/" not in line]
    return line


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "trainings"), [("", 12), ("hydra/sweeper=optuna", 4)])
def test_sweep_and_search_run_all_trainings(kind, trainings, tmp_path, run_module):
    given = arguments(several_trainings(kind))
    small = ["model.base_channels=4", "loader.num_workers=0", "loader.batch_size=2"]
    done = run_module("unet_exp.train", *given, *small, timeout=900)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("outputs/*/*/metrics.json"))) == trainings


@pytest.mark.slow
def test_scoring_and_resuming_commands_run(isic_root, tmp_path, run_module):
    folder = run(tiny(isic_root, tmp_path / "outputs", data="isic2017")).path
    ph2 = fake.ph2(tmp_path / "ph2")
    lines = [line for line in PYTHON if ("unet_exp.evaluate" in line and "run=[" not in line) or "resume=" in line]
    assert len(lines) == 3
    for line in lines:
        given = [re.sub(r"^(run|resume)=.*", rf"\1={folder}", a) for a in arguments(line)]
        given = [f"data.root={ph2}" if a.startswith("data.root=") else a for a in given]
        done = run_module(shlex.split(line)[2], *given)
        assert done.returncode == 0, done.stderr
    assert {p.name for p in (folder / "evaluation").iterdir()} == {"val", "ph2-ph2-test"}


@pytest.mark.slow
def test_several_runs_are_scored_as_one(isic_root, tmp_path, run_module):
    folders = [run(tiny(isic_root, tmp_path / "outputs", f"seed={seed}", data="isic2017")).path for seed in (0, 1)]
    (line,) = (line for line in PYTHON if "unet_exp.evaluate run=[" in line)
    _, *others = arguments(line)
    done = run_module("unet_exp.evaluate", f"run=[{folders[0]},{folders[1]}]", *others)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ensemble" / "metrics.json").is_file()


@pytest.mark.slow
def test_predicting_and_exporting_commands_run(isic_root, bcss_root, tmp_path, run_module):
    runs = {
        "isic2017": run(tiny(isic_root, tmp_path / "runs", "trainer.max_epochs=1", data="isic2017")).path,
        "bcss": run(tiny(bcss_root, tmp_path / "runs", "trainer.max_epochs=1")).path,
    }
    (tmp_path / "photos").mkdir()
    for image in (isic_root / "ISIC-2017_Validation_Data").glob("*.jpg"):
        (tmp_path / "photos" / image.name).write_bytes(image.read_bytes())
    write_pyramid(tmp_path / "slide.svs", (600, 800), mpp=0.25, aperio=True)
    lines = [line for line in PYTHON if "unet_exp.predict" in line or "unet_exp.export" in line]
    assert len(lines) == 3
    for line in lines:
        data = next(name for name in runs if f"-{name}-" in line)
        given = [f"run={runs[data]}" if a.startswith("run=") else a for a in arguments(line)]
        done = run_module(shlex.split(line)[2], *given)
        assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "predicted").glob("*.labels.png"))) == 3
    assert (tmp_path / "slides" / "slide.geojson").is_file()
    assert (runs["bcss"] / "bundle-onnx" / "network.onnx").is_file()


@pytest.mark.slow
def test_comparing_command_runs(isic_root, tmp_path, run_module):
    for seed in (0, 1):
        run(tiny(isic_root, tmp_path / "outputs", "name=my-study", f"seed={seed}", data="isic2017"))
    (line,) = (line for line in PYTHON if "unet_exp.report" in line)
    done = run_module("unet_exp.report", *arguments(line))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "outputs" / "my-study" / "report" / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in PYTHON if "unet_exp.prepare" in line])
def test_preparing_commands_run(line, tmp_path, run_module):
    given = arguments(line)
    data = choice(given, "data")
    given = [a for a in given if not a.startswith("data.root=")]
    if data.endswith("_demo"):
        given += ["preview_cases=1", "preview_versions=1"]
    else:
        given.append(f"data.root={fake.MAKERS[data](tmp_path / 'data')}")  # with its files there, nothing is downloaded
    done = run_module("unet_exp.prepare", *given)
    assert done.returncode == 0, done.stderr
    assert "no fault" in done.stdout


@pytest.mark.parametrize("group", ["model", "data", "loss", "supervision", "augmentation", "trainer", "logger"])
def test_the_table_of_choices_names_what_exists(group):
    (row,) = re.findall(rf"^\| `{group}` \| (.*) \|$", README, re.MULTILINE)
    named = set(re.findall(r"`([a-z0-9_]+)`", row))
    assert named <= set(options(group))
    if "..." not in row:
        assert named == set(options(group))


def test_pictures_exist():
    for path in re.findall(r"!\[[^]]*\]\(([^)]*)\)", README):
        assert (REPOSITORY / path).is_file()

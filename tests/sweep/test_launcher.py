"""The launcher as Hydra meets it: mistakes before anything is made, no torch, and the wandb agent's way in."""

import os
import re
import shlex
import subprocess
import sys

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from tests.conftest import REPOSITORY
from unet_exp.config import compose_config, to_plain
from unet_exp.locations import CONFIG_FOLDER
from unet_exp.sweep.launcher import SweepLauncher
from unet_exp.sweep.settings import SweepSettings


def explained(run_module, *arguments: str) -> str:
    done = run_module("unet_exp.train", "-m", "data=bcss", "seed=0,1", *arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("hydra.launcher.n_jobs=0", "hydra.launcher.n_jobs: Input should be greater than 0, got 0."),
        ("hydra.launcher.gpus_per_job=-1", "hydra.launcher.gpus_per_job: Input should be greater than or equal to 0"),
        ("hydra.launcher.n_job=2", "Key 'n_job' is not in struct"),
        ("sweep.fail_fast=maybe", "sweep.fail_fast: Input should be a valid boolean, got 'maybe'."),
        ("hydra.launcher.gpus_per_job=9", "hydra.launcher.gpus_per_job: 9 asked for, but there are"),
        ("loss=dice,dicee", "dicee"),
    ],
)
def test_mistakes_are_explained_before_anything_runs(override, message, run_module, tmp_path):
    assert re.search(message, explained(run_module, override))
    assert not list(tmp_path.rglob("log.txt"))


def test_a_sweep_needs_no_resume(run_module, tmp_path):
    (tmp_path / "environment.json").write_text('{"overrides": []}')
    assert "resume: a sweep finds by itself what can be continued" in explained(run_module, f"resume={tmp_path}")


def test_a_sweep_is_not_started_by_every_rank(run_module, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "A sweep (-m) is started once, without torchrun" in explained(run_module)


@pytest.mark.slow
def test_the_sweep_itself_does_without_torch(tmp_path):
    """It stays in memory for days, beside the jobs that need it."""
    code = (
        "import sys\n"
        "from unet_exp.sweep import session\n"
        "session.Runner.run = lambda self, request: None\n"
        "sys.argv = ['train', '-m', 'data=bcss', 'seed=0,1,2', 'model=unet,resunet', 'sweep.report=false']\n"
        "from unet_exp.train import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print('ended with', end.code)\n"
        "heavy = {'torch', 'lightning', 'albumentations', 'wandb', 'cv2', 'matplotlib'} & sys.modules.keys()\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Sweep of 6 jobs" in done.stdout
    assert "ended with 1" in done.stdout  # nothing was trained, and Hydra alone would have said that all is well


@pytest.mark.slow
def test_the_command_of_the_documentation_has_36_jobs(tmp_path):
    text = (REPOSITORY / "docs" / "sweeps.md").read_text()
    arguments = shlex.split(re.search(r"python -m unet_exp.train (-m .*)", text)[1])
    code = (
        "import sys\n"
        "from unet_exp.sweep import session\n"
        "session.Runner.run = lambda self, request: None\n"
        f"sys.argv = ['train', *{arguments!r}]\n"
        "from unet_exp.train import main\n"
        "main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert f"Sweep of 36 jobs: {tmp_path}/outputs/my-study\n" in done.stdout
    for key in re.findall(r"`((?:hydra\.launcher|sweep)\.\w+)=", text):
        assert OmegaConf.select(composed_with_hydra(), key, throw_on_missing=False, default="absent") != "absent", key


def composed_with_hydra(*overrides: str):
    with initialize_config_dir(config_dir=CONFIG_FOLDER, version_base="1.3"):
        return compose(config_name="train", overrides=["data=bcss", *overrides], return_hydra_config=True)


def test_combinations_that_are_the_same_run_are_run_once(tmp_path):
    code = (
        "import sys\n"
        "from unet_exp.sweep import session\n"
        "session.Runner.run = lambda self, request: None\n"
        "sys.argv = ['train', '-m', 'data=bcss', 'loader.num_workers=0,2', 'sweep.report=false']\n"
        "from unet_exp.train import main\n"
        "main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "Sweep of 1 job:" in done.stdout
    assert "1 combination" in done.stdout


def test_the_yaml_states_the_defaults():
    assert to_plain(compose_config("train", ["data=bcss"]).sweep) == vars(SweepSettings())
    launcher = yaml.safe_load((REPOSITORY / "conf" / "hydra" / "launcher" / "local.yaml").read_text())
    assert launcher.pop("_target_") == "hydra_plugins.unet_exp_local.LocalLauncher"
    assert not any(launcher.values())
    assert vars(SweepLauncher(**launcher)) == vars(SweepLauncher())


def test_what_the_wandb_agent_starts_composes():
    sweep = yaml.safe_load((REPOSITORY / "docs" / "wandb_sweep.yaml").read_text())
    drawn = {key: p["values"][-1] if "values" in p else p["min"] for key, p in sweep["parameters"].items()}
    macros = create_sweep_command_args({"args": {key: {"value": value} for key, value in drawn.items()}})
    command = [part for chunk in sweep["command"] for part in macros.get(str(chunk)[2:-1], [chunk])]
    start = command.index("unet_exp.train") + 1
    config = compose_config("train", command[start:])
    assert config.optim.lr == 1e-4
    assert "lovasz" in config.loss._target_
    assert config.monitor == sweep["metric"]["name"]
    assert config.logger is not None

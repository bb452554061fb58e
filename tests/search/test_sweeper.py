"""The search as Hydra meets it: mistakes before anything is made, no Optuna without a search, a true documentation."""

import os
import re
import shlex
import subprocess
import sys

import pytest
import yaml
from omegaconf import OmegaConf

from tests.conftest import REPOSITORY
from tests.sweep.test_launcher import composed_with_hydra
from unet_exp.search.settings import SearchSettings

DOCUMENTATION = (REPOSITORY / "docs" / "search.md").read_text()
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", DOCUMENTATION, re.DOTALL) for line in block.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "messages"),
    [
        (["loss=dice"], ["Nothing to search: no key has several values."]),
        (
            ["optim.lrr=interval(0,1)", "loss=choice(dice,focall)", "mdel.depth=1,2"],
            [
                "3 mistakes",
                "optim.lrr: optim has no 'lrr'. Did you mean 'lr'?",
                "loss: there is no 'focall'. Did you mean 'focal'?",
                "mdel.depth: the configuration has no 'mdel'. Did you mean 'model'?",
            ],
        ),
        (["loss=range(1,3)"], ["loss: takes names, not numbers. Known: "]),
        (
            ["optim.lr=interval(1e-4,1)", "hydra.sweeper.sampler=grid"],
            ["optim.lr: a grid needs a list of values or steps"],
        ),
        (
            ["optim.lr=1,2", "hydra.sweeper.sampler=bayes"],
            ["hydra.sweeper.sampler: Input should be 'tpe', 'random' or"],
        ),
        (["model=unet,resunet", "model.bottleneck_channels=1,2"], ["Key 'bottleneck_channels' is not in struct"]),
        (
            ["optim.lr=1,2", "hydra/launcher=basic"],
            ["hydra/launcher=basic cannot run a search", "hydra/launcher=local"],
        ),
        (["optim.lr=1,2", "hydra.launcher.n_jobs=0"], ["hydra.launcher.n_jobs: Input should be greater than 0"]),
    ],
)
def test_mistakes_are_explained_before_anything_is_made(overrides, messages, run_module, tmp_path):
    done = run_module("unet_exp.train", "-m", "hydra/sweeper=optuna", "data=bcss", *overrides)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for message in messages:
        assert message in done.stderr
    assert not list(tmp_path.iterdir())


def launched(tmp_path, arguments: list[str], check: str) -> subprocess.CompletedProcess:
    """A launch that trains nothing, and an expression that is to be printed after it."""
    code = (
        "import sys\n"
        "from unet_exp.sweep.runner import Runner\n"
        "Runner.run = lambda self, request: None\n"
        f"sys.argv = ['train', *{arguments!r}]\n"
        "from unet_exp.train import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print('ended with', end.code)\n"
        f"print({check})\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)


HEAVY = "sorted({'optuna', 'torch', 'lightning', 'wandb', 'cv2', 'matplotlib', 'sklearn'} & sys.modules.keys())"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "imported"),
    [
        (["--help"], "[]"),
        (["data=bcss", "--cfg", "job"], "[]"),
        (["-m", "data=bcss", "seed=0,1", "sweep.report=false"], "[]"),
        (["-m", "hydra/sweeper=optuna", "data=bcss", "loss=dice,focal"], "['optuna']"),
    ],
)
def test_optuna_is_imported_for_searches_only_and_torch_never(arguments, imported, tmp_path):
    done = launched(tmp_path, arguments, HEAVY)
    assert done.stdout.splitlines()[-1] == imported, done.stderr


def test_the_yaml_states_the_defaults():
    sweeper = yaml.safe_load((REPOSITORY / "conf" / "hydra" / "sweeper" / "optuna.yaml").read_text())
    assert sweeper.pop("_target_") == "hydra_plugins.unet_exp_optuna.OptunaSweeper"
    assert sweeper == vars(SearchSettings())


def test_a_file_may_say_what_is_searched(tmp_path):
    (tmp_path / "conf" / "hydra" / "sweeper").mkdir(parents=True)
    text = (REPOSITORY / "conf" / "hydra" / "sweeper" / "optuna.yaml").read_text()
    mine = re.sub(r"params: null.*", "params: {optim.lr: 'interval(1e-4,1e-2)', loss: [dice, focal]}", text)
    (tmp_path / "conf" / "hydra" / "sweeper" / "mine.yaml").write_text(mine)
    done = launched(tmp_path, ["--config-dir", "conf", "-m", "hydra/sweeper=mine", "data=bcss", "loss=dice_ce"], "''")
    assert "  optim.lr: 0.0001 to 0.01\n" in done.stdout, done.stderr
    assert "loss:" not in done.stdout


def test_the_documentation_has_commands_of_searches():
    assert len(COMMANDS) >= 3
    assert all(line.startswith("python -m unet_exp.train -m hydra/sweeper=optuna ") for line in COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_of_the_documentation_begin(line, tmp_path):
    arguments = shlex.split(line)[3:]
    done = launched(tmp_path, arguments, "''")
    name = next(argument.removeprefix("name=") for argument in arguments if argument.startswith("name="))
    assert re.search(rf"Search of \d+ trials: {tmp_path}/outputs/{name}\n", done.stdout), done.stderr
    assert not done.stderr


def test_the_documentation_names_what_exists():
    config = composed_with_hydra("hydra/sweeper=optuna")
    table = re.search(r"## Settings(.*?)```", DOCUMENTATION, re.DOTALL)[1]
    named = re.findall(r"^\| `(\w+)=", table, re.MULTILINE)
    assert {*named, "n_startup_trials", "params"} == set(vars(SearchSettings()))
    for key in named:
        assert OmegaConf.select(config, f"hydra.sweeper.{key}", default="absent") != "absent"


@pytest.mark.parametrize("argument", re.findall(r"`'(.*?)'`", DOCUMENTATION))
def test_the_examples_of_the_documentation_are_understood(argument, tmp_path):
    from unet_exp.search.space import read_space

    (parameter,) = read_space({}, [argument if "=" in argument else f"a={argument}"]).parameters
    assert parameter.key in (
        "a",
        "loss",
        "model.dropout",
        "optim.lr",
        "model.base_channels",
        "model.depth",
        "loss.gamma",
    )

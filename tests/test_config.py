"""The configuration: every mistake is one clear line, everything shipped composes, nothing imports torch early."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.errors import ConfigError
from unet_exp.locations import CONFIG_FOLDER


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (Path(CONFIG_FOLDER) / group).glob("*.yaml"))


def check(*overrides: str) -> dict:
    return check_train_config(compose_config("train", ["data=bcss", *overrides]))


def mistakes(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(*overrides)
    return caught.value.mistakes


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("+model.depht=5", "model.depht: UNet has no such argument. Did you mean 'depth'?"),
        ("model.depth=five", "model.depth: Input should be a valid integer, got 'five'."),
        ("model.depth='5'", "model.depth: Input should be a valid integer, got '5'."),
        (
            "model.norm=layer",
            "model.norm: Input should be 'none', 'batch', 'instance' or 'group', got 'layer'.",
        ),
        ("model.base_channels=0", "model.base_channels: Input should be greater than 0, got 0."),
        ("optim.lr=fast", "optim.lr: Input should be a valid number, got 'fast'."),
        ("seed=abc", "seed: Input should be a valid integer, got 'abc'."),
        ("seed=-1", "seed: Input should be greater than or equal to 0, got -1."),
        (
            "+trainer.max_epoch=3",
            "trainer.max_epoch: Trainer has no such argument. Did you mean 'max_epochs'?",
        ),
        ("+sed=1", "sed: The training configuration has no such argument. Did you mean 'seed'?"),
        ("~data.patches_per_epoch", "data.patches_per_epoch: BCSS needs this argument, but it is missing."),
        ("~data.mpp", "data.score_mpp: Interpolation key 'mpp' not found"),
        ("loader.batch_size=0", "loader.batch_size: Input should be greater than 0, got 0."),
        ("inference.overlap=1.0", "inference.overlap: Input should be less than 1, got 1.0."),
        (
            "data.split.scheme=random",
            "data.split.scheme: Input should be 'official', 'holdout', 'kfold' or 'auto'",
        ),
        ("data.classes.tumor.color=[1,2]", "data.classes.tumor.color: Value should have at least 3 items"),
        ("+data.classes.tumor.colour=red", "data.classes.tumor.colour: Unexpected keyword argument"),
        (
            "model._target_=unet_exp.model.unet.UNett",
            "model._target_: cannot find 'unet_exp.model.unet.UNett'",
        ),
        ("model._target_=unet_expp.UNet", "model._target_: cannot find 'unet_expp.UNet'"),
        ("model.num_classes=7", "model.num_classes: the network has 7 outputs but the dataset needs 5."),
        ("data.mpp=???", "data.mpp: this value must be given"),
        ("optim.lr=${optim.rate}", "Interpolation key 'optim.rate' not found"),
    ],
)
def test_one_mistake_is_one_clear_line(override, expected):
    (found,) = mistakes("model=unet", override)
    assert expected in found


def test_all_mistakes_are_listed_at_once():
    found = mistakes("model=unet", "+model.depht=5", "model.norm=layer", "optim.lr=fast", "seed=abc")
    assert len(found) == 4


def test_an_argument_with_a_default_may_be_left_out():
    assert "num_workers" not in check("~loader.num_workers")["loader"]


def test_wrong_key_inside_a_yaml_is_found():
    config = compose_config("train", ["data=bcss"])
    OmegaConf.set_struct(config, False)
    config.trainer.max_epoch = 3
    with pytest.raises(ConfigError, match="Did you mean 'max_epochs'"):
        check_train_config(config)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model=unett"], "Could not find 'model/unett'"),
        ([], "You must specify 'data'"),
        (["data=bcss", "trainer.max_epoch=3"], "Key 'max_epoch' is not in struct"),
    ],
)
def test_what_hydra_itself_explains(overrides, expected):
    with pytest.raises(ConfigCompositionException) as caught:
        compose_config("train", overrides)
    assert expected in str(caught.value) + str(caught.value.__cause__)


@pytest.mark.parametrize(
    "group", ["data", "loss", "optim", "scheduler", "augmentation", "trainer", "supervision", "inference"]
)
def test_every_option_of_every_group_is_valid(group):
    for option in options(group):
        base = [] if group == "data" else ["data=bcss"]
        base += ["model=ctx_resunet"] if option == "context" else []  # only it predicts surroundings
        check_train_config(compose_config("train", [*base, f"{group}={option}"]))


@pytest.mark.parametrize(
    "overrides",
    [
        *([f"data={data}"] for data in options("data")),
        # The facts do not depend on who asks: two datasets, of one output and of five, tell for all models and losses.
        *(
            [f"data={data}", f"{group}={option}"]
            for data in ("bcss", "isic2017")
            for group in ("model", "loss")
            for option in options(group)
        ),
    ],
    ids=" ".join,
)
def test_facts_of_the_dataset_reach_every_model_and_loss(overrides):
    config = compose_config("train", overrides)
    assert config.model.num_classes == config.data.num_classes
    assert config.loss.ignore_index == config.data.ignore_index


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_is_valid(experiment):
    check_train_config(compose_config("train", [f"experiment={experiment}"]))


def test_callbacks_combine():
    plain = check("callback=[ema,early_stopping]")
    assert list(plain["callback"]) == ["ema", "early_stopping"]


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job", "data=bcss"]])
def test_help_and_config_answer_without_torch(arguments):
    code = (
        f"import sys; sys.argv = ['train', *{arguments!r}]\n"
        "from unet_exp.train import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'lightning', 'albumentations', 'wandb', 'cv2', 'matplotlib'} & sys.modules.keys()\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "num_classes" in done.stdout


def test_a_mistake_on_the_command_line_ends_without_traceback(run_module, tmp_path):
    done = run_module("unet_exp.train", "data=bcss", "model=unet", "+model.depht=5", "optim.lr=fast")
    assert done.returncode == 1
    assert done.stderr.startswith("error: 2 mistakes in the configuration:\n  model.depht:")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())  # nothing half-written


@pytest.mark.parametrize(("data", "norm"), [("bcss", "batch"), ("lits", "batch"), ("isic2017", "instance")])
def test_norm_of_the_default_network_suits_patches_or_whole_images(data, norm):
    assert compose_config("train", [f"data={data}"]).model.norm == norm

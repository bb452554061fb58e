"""The studies: their arms differ in what they say and in nothing else, and see as many pixels in as many steps."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from tests.test_config import options
from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.errors import ConfigError
from unet_exp.locations import CONFIG_FOLDER
from unet_exp.reporting.models import differing_keys
from unet_exp.reporting.runs import Run
from unet_exp.run.identity import run_label
from unet_exp.run.overrides import apply_overrides, refuse_null_options
from unet_exp.study_settings import times
from unet_exp.sweep.open_choices import refuse_open_choices

ARMS = options("arm")
RECIPES = options("recipe")
LADDER = ["residual", "deep", "dilated", "context", "context_placebo"]
STUDIES = ["study_bcss", "study_bcss_small", "study_isic"]


def content(group: str, option: str) -> dict[str, Any]:
    return yaml.safe_load((Path(CONFIG_FOLDER) / group / f"{option}.yaml").read_text())


def model_of(arm: str) -> str:
    (model,) = (entry["override /model"] for entry in content("arm", arm)["defaults"] if "override /model" in entry)
    return model


@cache
def composed(study: str, *overrides: str) -> dict[str, Any]:
    """The checked configuration of one run."""
    for override in overrides:
        group, _, option = override.partition("=")
        if group == "arm" and model_of(option) not in options("model"):
            pytest.skip(f"there is no model={model_of(option)}")
    return check_train_config(compose_config("train", [f"experiment={study}", *overrides]))


def flat(node: Any, path: str = "") -> dict[str, str]:
    if isinstance(node, dict):
        return {k: v for key, child in node.items() for k, v in flat(child, f"{path}.{key}".lstrip(".")).items()}
    return {path: str(node)}


def differences(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    return set(differing_keys([flat(one), flat(other)]))


def varied(study: str) -> dict[str, list[str]]:
    with initialize_config_dir(config_dir=CONFIG_FOLDER, version_base="1.3"):
        params = compose("train", [f"experiment={study}"], return_hydra_config=True).hydra.sweeper.params
    return {key: str(values).split(",") for key, values in params.items()}


OWN = {
    "unet_coarse": {"data.mpp"},
    "unet_large_patch": {
        "data.patch_size",
        "data.window_size",
        "inference.window_size",
        "data.patches_per_epoch",
        "loader.batch_size",
    },
}
"""What an arm changes besides its network."""
FOLLOWS = {"data.context_mpp", "inference.alignment", "inference.surroundings"}
"""What the configuration derives from the network: surroundings that it asks for, and how windows meet its halvings."""


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.slow
def test_arms_differ_in_their_network_and_in_what_they_say(study, arm):
    if arm not in varied(study)["arm"]:
        pytest.skip(f"{arm} is no arm of {study}")
    found = differences(composed(study, "arm=unet"), composed(study, f"arm={arm}"))
    blocks = {key for key in found if not key.startswith(("model.", "supervision."))}
    assert blocks - FOLLOWS == OWN.get(arm, set())


@pytest.mark.slow
@pytest.mark.parametrize("study", ["study_bcss", "study_bcss_small"])
@pytest.mark.parametrize("arm", ARMS)
def test_all_arms_see_as_many_pixels_in_as_many_steps(study, arm):
    def work(plain: dict[str, Any]) -> tuple[float, int, int]:
        data, batch = plain["data"], plain["loader"]["batch_size"]
        steps = data["patches_per_epoch"] / batch
        return steps, batch * data["patch_size"] ** 2, plain["trainer"]["max_epochs"]

    plain = composed(study, f"arm={arm}")
    assert work(plain) == work(composed(study, "arm=unet"))
    assert plain["data"]["score_mpp"] == composed(study)["study"]["mpp"]


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("residual", "deep", ("supervision.weights", "model.supervision_weights")),
        ("deep", "dilated", ("model.dilations",)),
        ("dilated", "context", ("model.context_", "supervision.")),
        ("context", "context_placebo", ("model.context_placebo",)),
    ],
)
def test_every_rung_of_the_ladder_adds_one_thing(before, after, changed):
    found = differences(composed("study_bcss_small", f"arm={before}"), composed("study_bcss_small", f"arm={after}"))
    assert all(key.startswith(changed) for key in found - FOLLOWS)
    assert all(any(key.startswith(one) for key in found) for one in changed)


@pytest.mark.slow
def test_the_full_study_has_every_arm_and_the_others_have_none_that_does_not_exist():
    assert sorted(varied("study_bcss")["arm"]) == ARMS
    assert set(LADDER) <= set(ARMS)
    for study in (*STUDIES, "recipe_bcss", "recipe_isic"):
        assert set(varied(study)["arm"]) <= set(ARMS)
        assert set(varied(study).get("recipe", [])) <= set(RECIPES)
        assert len(varied(study)["seed"]) >= 3
    assert sorted({*varied("recipe_bcss")["recipe"], *varied("recipe_isic")["recipe"]}) == RECIPES
    assert varied("study_bcss_small")["data.split.fold"] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(("group", "option"), [("arm", arm) for arm in ARMS] + [("recipe", one) for one in RECIPES])
def test_every_yaml_says_what_question_it_answers(group, option):
    package, comment, *_ = (Path(CONFIG_FOLDER) / group / f"{option}.yaml").read_text().splitlines()
    assert package == "# @package _global_"
    assert comment.startswith("# ")
    assert "?" in comment or option == "reference"


@pytest.mark.parametrize("study", ["recipe_bcss", "recipe_isic"])
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.slow
def test_a_recipe_changes_one_factor(study, recipe):
    if recipe not in varied(study)["recipe"]:
        pytest.skip(f"{recipe} is no recipe of {study}")
    found = differences(composed(study, "arm=unet"), composed(study, "arm=unet", f"recipe={recipe}"))
    blocks = {key.partition(".")[0] for key in found}
    assert len(blocks) == (0 if recipe == "reference" else 1)


@pytest.mark.parametrize("study", STUDIES)
def test_nothing_is_selected_on_what_is_scored(study):
    plain = composed(study, "arm=unet")
    assert plain["scored_checkpoint"] == "last"
    assert list(plain["callback"]) == ["ema"]


def test_the_command_line_has_the_last_word():
    plain = composed("study_bcss", "arm=unet_large_patch", "study.patch_size=64", "study.epochs=2", "callback=none")
    assert plain["data"]["patch_size"] == plain["inference"]["window_size"] == 128
    assert plain["trainer"]["max_epochs"] == 2
    assert not plain["callback"]
    assert composed("study_bcss", "arm=unet", "trainer.max_epochs=1")["trainer"]["max_epochs"] == 1


def test_folders_and_reports_call_a_run_by_its_arm_and_recipe():
    names = {"model": "ctx_resunet", "data": "bcss", "arm": None, "recipe": None}
    for chosen, name in (
        ({}, "ctx_resunet"),
        ({"arm": "context"}, "context"),
        ({"arm": "unet", "recipe": "no_ema"}, "unet-no_ema"),
        ({"recipe": "no_ema"}, "ctx_resunet-no_ema"),
    ):
        label = run_label({"seed": 0}, {**names, **chosen})
        assert label.startswith(f"{name}-bcss-")
        assert Run(Path("runs") / label, {}, {}, {}, [], []).model == name


def test_an_arm_outside_a_study_says_what_it_needs():
    with pytest.raises(ConfigError, match=r"data.mpp: .*experiment=study_bcss, or give study"):
        check_train_config(compose_config("train", ["data=bcss", "arm=unet_coarse"]))
    plain = check_train_config(compose_config("train", ["data=bcss", "arm=unet_coarse", "study.mpp=0.25"]))
    assert (plain["data"]["mpp"], plain["data"]["score_mpp"]) == (0.5, 0.25)


@pytest.mark.parametrize(("value", "factor", "product"), [(16, 0.25, 4), (256, 2, 512), (0.5, 2, 1.0), (6, 0.25, 1.5)])
def test_whole_numbers_stay_whole(value, factor, product):
    assert times(value, factor) == product
    assert isinstance(times(value, factor), int) == (isinstance(value, int) and product == int(product))


def test_a_batch_that_has_no_quarter_is_refused():
    with pytest.raises(ConfigError, match=r"loader.batch_size: Input should be a valid integer.*1\.5"):
        composed("study_bcss", "arm=unet_large_patch", "study.batch_size=6")


def test_a_study_is_no_single_training():
    params = {"arm": "unet,deep", "seed": "0,1"}
    refuse_open_choices(params, {"arm": "unet", "experiment": "study_bcss"})
    refuse_open_choices(None, {"arm": None})
    with pytest.raises(ConfigError, match=r"arm: study_bcss is a sweep over arm, seed. Start it with -m; .*unet, deep"):
        refuse_open_choices(params, {"arm": None, "experiment": "study_bcss"})


def test_a_group_is_left_away_rather_than_null():
    refuse_null_options(["name=null", "data.window_size=null", "arm=unet"])
    with pytest.raises(ConfigError, match=r"arm: null is no option"):
        refuse_null_options(["data=bcss", "arm=null"])


def test_an_arm_cannot_be_changed_after_training():
    with pytest.raises(ConfigError, match="arm: this is chosen before training"):
        apply_overrides({"data": {}}, ["arm=unet"])

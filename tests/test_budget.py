"""Equal compute: every network meets every budget, by its own count, and nothing else of a run changes."""

import re

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from tests.networks import MODELS, composed, multiply_accumulates, network_of
from tests.reporting.folders import FakeRun, write_run
from unet_exp.bounds import PositiveFloat, PositiveInt
from unet_exp.budget import describe_budget, within_budget
from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.cost import measure_cost, network_inputs
from unet_exp.errors import ConfigError, UserError
from unet_exp.reporting.models import group_models
from unet_exp.reporting.runs import find_run_folders, read_runs
from unet_exp.run.identity import config_hash, refuse_other_run

OUT_OF_REACH = {("smp_unet", "xs")}
"""A ResNet-34 alone costs more."""


class Fixed(nn.Module):
    """A large part that no argument changes, and a part whose width is a whole number."""

    def __init__(self, in_channels: PositiveInt, num_classes: PositiveInt, features: PositiveInt = 4, name: str = "x"):
        super().__init__()
        self.encoder = nn.Conv2d(in_channels, 500, 3, padding=1)
        self.decoder = nn.Sequential(nn.Conv2d(500, features, 1), nn.Conv2d(features, num_classes, 1))

    def forward(self, image):
        return self.decoder(self.encoder(image))


class LooksAtNumbers(nn.Module):
    """Cannot be built on the meta device, whose tensors have no numbers; nor has its buffer ever been there."""

    def __init__(self, in_channels: PositiveInt, num_classes: PositiveInt, base_channels: PositiveFloat = 4):
        super().__init__()
        width = round(float(torch.tensor(base_channels)))
        self.register_buffer("scale", torch.from_numpy(np.ones((1, width, 1, 1), np.float32)))
        self.layers = nn.ModuleList([nn.Conv2d(in_channels, width, 3, padding=1), nn.Conv2d(width, num_classes, 1)])

    def forward(self, image):
        return self.layers[1](self.scale * self.layers[0](image))


FIXED = ("~model", "+model._target_=tests.test_budget.Fixed", "+model.in_channels=3", "+model.num_classes=5")


def fixed(*overrides):
    return check_train_config(compose_config("train", ["data=bcss", *FIXED, *overrides]))


def refusal(config):
    with pytest.raises(ConfigError) as caught:
        within_budget(config)
    (line,) = caught.value.mistakes
    return line


def giga_macs(config):
    network = network_of(config)
    return multiply_accumulates(network, network_inputs(network, config["data"]["in_channels"], (256, 256), 1)) / 1e9


@pytest.mark.parametrize(("budget", "target"), [("xs", 1.0), pytest.param("s", 5.5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("model", MODELS)
def test_every_network_has_the_compute_of_the_budget(model, budget, target):
    config = composed(model, f"budget={budget}")
    if (model, budget) in OUT_OF_REACH:
        assert "the smallest it can be" in refusal(config)
        return
    assert giga_macs(within_budget(config)) == pytest.approx(target, rel=0.03)


@pytest.mark.parametrize(("budget", "target", "published"), [("m", 12.5, 32), ("l", 48.0, 64)])
def test_a_unet_of_the_larger_budgets_is_one_of_the_published_widths(budget, target, published):
    solved = within_budget(composed("unet", f"budget={budget}"))
    assert giga_macs(solved) == pytest.approx(target, rel=0.03)
    assert solved["model"]["base_channels"] == pytest.approx(published, rel=0.03)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.slow
def test_parameters(model):
    solved = within_budget(composed(model, "budget=s", "budget.by=params", "budget.million_parameters=40"))
    weights = sum(weight.numel() for weight in network_of(solved).parameters())
    assert weights == pytest.approx(40e6, rel=0.03)


@pytest.mark.parametrize("model", ["unet", "improved_unet_isensee"])
@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.slow
def test_memory(model, batch_size):
    by_memory = ("budget=xs", "budget.by=memory", f"budget.batch_size={batch_size}", "budget.memory_gib=0.5")
    cost = measure_cost(network_of(within_budget(composed(model, *by_memory))), 3, (256, 256))
    assert cost.training_memory_mb(batch_size) == pytest.approx(512, rel=0.03)


@pytest.mark.parametrize("budget", ["xs", "s", "m", "l"])
def test_the_amounts_of_a_budget_belong_together(budget):
    """They are those of one UNet, rounded."""
    config = composed("unet", f"budget={budget}")
    widths = [
        within_budget({**config, "budget": {**config["budget"], "by": by}})["model"]["base_channels"]
        for by in ("macs", "params", "memory")
    ]
    assert widths == pytest.approx([widths[0]] * 3, rel=0.05)


def test_nothing_changes_but_the_width():
    plain = composed("resunet", "supervision=deep", "optim.lr=0.01")
    for budget in ("xs", "s"):
        solved = within_budget(composed("resunet", "supervision=deep", "optim.lr=0.01", f"budget={budget}"))
        assert solved["budget"]["gmacs"] in (1.0, 5.5)
        changed = {**solved, "budget": plain["budget"], "model": {**solved["model"], "base_channels": 64}}
        assert changed == plain
        assert solved["model"]["base_channels"] != 64


def test_without_a_budget_nothing_changes_at_all():
    plain = composed("unet")
    assert within_budget(plain) == plain
    assert not plain["budget"]
    assert describe_budget(plain) == ""


def test_the_width_depends_on_no_other_width_and_not_on_chance():
    config = composed("unet", "budget=xs")
    torch.manual_seed(1)
    first = within_budget(config)
    torch.manual_seed(2)
    config["model"]["base_channels"] = 3
    assert within_budget(config) == first


def test_no_random_number_is_drawn():
    before = torch.get_rng_state()
    within_budget(composed("unet", "budget=xs"))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_dataset_and_the_reference_image_count():
    widths = [
        within_budget(composed("unet", "budget=xs", *more))["model"]["base_channels"]
        for more in ((), ("budget.image_size=128",), ("model.in_channels=30", "data.in_channels=30"))
    ]
    assert widths[1] == pytest.approx(2 * widths[0], rel=0.1)
    assert widths[2] < 0.95 * widths[0]


def test_an_argument_of_another_name_that_takes_whole_numbers():
    solved = within_budget(fixed("budget=s", "budget.width_key=features", "budget.gmacs=2"))
    assert type(solved["model"]["features"]) is int
    assert giga_macs(solved) == pytest.approx(2, rel=0.03)
    assert "features=" in describe_budget(solved)


def test_a_network_that_cannot_be_built_without_numbers():
    solved = within_budget(fixed("budget=s", "model._target_=tests.test_budget.LooksAtNumbers", "budget.gmacs=0.2"))
    assert solved["model"]["base_channels"] == pytest.approx(0.2e9 / 256**2 / (3 * 9 + 5), abs=1)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ("budget.width_key=features", "budget.gmacs=0.1"),
            r"Fixed cannot meet 0\.1 GMACs .*the smallest it can be is",
        ),
        (("budget.width_key=features", "budget.gmacs=300"), r"the largest it can be is .*\(features=4096\)"),
        (
            ("budget.width_key=features", "budget.gmacs=0.94", "budget.tolerance=0.001"),
            r"the nearest it can be is 0\.9\d+ GMACs .*budget\.tolerance is 0\.001",
        ),
        (("budget.width_key=featurs",), r"budget\.width_key: .*'featurs'.* Did you mean 'features'\?"),
        (("budget.width_key=name",), r"budget\.width_key: .*'name'.* should be a valid string"),
    ],
)
def test_a_budget_that_cannot_be_met_is_one_clear_line(overrides, expected):
    assert re.search(expected, refusal(fixed("budget=s", *overrides)))


def test_a_reference_image_that_the_network_refuses():
    line = refusal(composed("unet", "budget=xs", "model.padding=valid", "budget.image_size=255"))
    assert line.startswith("budget.image_size: the network does not take the reference images.")
    fitting = within_budget(composed("unet", "budget=xs", "model.padding=valid", "budget.image_size=252"))
    assert fitting["model"]["base_channels"] > 10  # unpadded convolutions compute less


def test_a_width_beside_a_budget_is_refused():
    config = composed("unet", "budget=xs", "model.base_channels=8")
    with pytest.raises(ConfigError, match=r"model\.base_channels: the budget decides it\. Leave"):
        within_budget(config, ["budget=xs", "model.base_channels=8"])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("budget.by=flops", "budget.by: Input should be 'macs', 'params' or 'memory', got 'flops'."),
        ("budget.gmacs=0", "budget.gmacs: Input should be greater than 0, got 0."),
        ("budget.memory_gib=much", "budget.memory_gib: Input should be a valid number, got 'much'."),
        ("+budget.macs=5", "budget.macs: Budget has no such argument. Did you mean 'gmacs'?"),
    ],
)
def test_wrong_values(override, expected):
    with pytest.raises(ConfigError) as caught:
        check_train_config(compose_config("train", ["data=bcss", "budget=xs", override]))
    assert caught.value.mistakes == [expected]


def test_a_job_is_the_same_before_and_after_its_width_was_solved():
    """A sweep knows its jobs before, the report after."""
    config = composed("unet", "budget=xs")
    assert config_hash(within_budget(config)) == config_hash(config)
    hashes = [config_hash(composed("unet", *more)) for more in ((), ("budget=xs",), ("budget=s",))]
    assert len(set(hashes)) == 3


def test_a_run_of_before_there_were_budgets_is_the_same_run():
    config = composed("unet")
    before = {key: value for key, value in config.items() if key != "budget"}
    assert config_hash(before) == config_hash(config) == config_hash({**config, "budget": None})
    refuse_other_run(before, config, "run")
    assert check_train_config(OmegaConf.create(before)) == before


def test_a_run_with_another_budget_is_not_continued():
    saved, wanted = (within_budget(composed("unet", f"budget={budget}")) for budget in ("xs", "s"))
    with pytest.raises(UserError, match=r"budget\.gmacs: 1\.0 in the run, 5\.5 now"):
        refuse_other_run(saved, wanted, "run")


@pytest.mark.slow
def test_the_report_tells_budgets_apart_by_their_amount(tmp_path):
    for budget in ("xs", "s"):
        for model in ("unet", "resunet"):
            solved = within_budget(composed(model, f"budget={budget}"))
            write_run(tmp_path, FakeRun(model, config={"model": solved["model"], "budget": solved["budget"]}))
    names = {model.name for model in group_models(read_runs(find_run_folders([str(tmp_path)])).runs)}
    assert names == {f"{model} (budget={amount} GMACs)" for model in ("unet", "resunet") for amount in ("1", "5.5")}

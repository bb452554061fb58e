"""What is searched: Hydra's grammar read into parameters, mistakes named."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from unet_exp.config import compose_config
from unet_exp.errors import ConfigError
from unet_exp.search.check import fitted
from unet_exp.search.space import Choice, Number, read_space
from unet_exp.search.study import _distribution


@pytest.mark.parametrize(
    ("argument", "parameter", "distribution"),
    [
        (
            "loss=choice(dice_ce,focal)",
            Choice("loss", ("dice_ce", "focal")),
            CategoricalDistribution(("dice_ce", "focal")),
        ),
        ("loss=dice_ce,focal", Choice("loss", ("dice_ce", "focal")), CategoricalDistribution(("dice_ce", "focal"))),
        ("a=4,8,4", Choice("a", ("4", "8")), CategoricalDistribution(("4", "8"))),
        ("+a.b=[1,2],null", Choice("+a.b", ("[1,2]", "null")), CategoricalDistribution(("[1,2]", "null"))),
        ("a='x y',\"z,\"", Choice("a", ("'x y'", '"z,"')), CategoricalDistribution(("'x y'", '"z,"'))),
        ("a=interval(1e-4,1)", Number("a", 1e-4, 1.0), FloatDistribution(1e-4, 1.0)),
        ("a=tag(log,interval(1e-4,1))", Number("a", 1e-4, 1.0, log=True), FloatDistribution(1e-4, 1.0, log=True)),
        ("a=int(interval(1,8))", Number("a", 1, 8, whole=True), IntDistribution(1, 8)),
        ("a=range(2,9,3)", Number("a", 2, 8, whole=True, step=3), IntDistribution(2, 8, step=3)),
        ("a=range(8,2,-3)", Number("a", 5, 8, whole=True, step=3), IntDistribution(5, 8, step=3)),
        ("a=range(0.1,0.35,0.1)", Number("a", 0.1, 0.3, step=0.1), FloatDistribution(0.1, 0.3, step=0.1)),
    ],
)
def test_the_grammar_of_hydra(argument, parameter, distribution):
    (read,) = read_space({}, [argument]).parameters
    assert read == parameter
    assert _distribution(read) == distribution


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("a=interval(1,1)", "a: an interval goes from a lower to a higher number, not from 1 to 1."),
        ("a=interval(0,inf)", "from a lower to a higher number, not from 0 to inf"),
        ("a=tag(log,interval(0,1))", "a: on a logarithmic scale an interval begins above 0, not at 0."),
        ("a=tag(lgo,interval(1,2))", "the tag 'lgo' means nothing here. Did you mean 'log'?"),
        ("a=tag(log,range(1,5))", "a range has equal steps"),
        ("a=tag(log,choice(1,5))", "needs an interval"),
        ("a=range(3,3)", "a: the range is empty; its end is not part of it."),
        ("a=range(0.0,1.0,0.0)", "a: Invalid range values"),
        ("data.root=x,y", "data.root: a path or a setting of the machine"),
        ("loader.num_workers=0,2", "loader.num_workers: a path or a setting of the machine"),
        ("seed=0,1,2", "seed: a search over seeds finds the luckiest one"),
        ("a=4", "Nothing to search"),
        ("a=interval(1,2", "In a shell, put quotes around brackets"),
    ],
)
def test_mistakes(argument, message):
    with pytest.raises(ConfigError) as raised:
        read_space({}, [argument])
    assert message in str(raised.value)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ConfigError) as raised:
        read_space({}, ["a=interval(2,1)", "seed=0,1"])
    assert len(raised.value.mistakes) == 2


def test_the_command_line_overrules_the_file():
    space = read_space({"a": "interval(0,1)", "b": [1, 2], "c": 3, "d": None}, ["a=0.5", "~e", "c=interval(0,2)"])
    assert set(space.fixed) == {"a=0.5", "d=null", "~e"}
    assert {parameter.key for parameter in space.parameters} == {"b", "c"}


def test_intervals_of_whole_numbers_fit_the_key():
    config = compose_config("train", ["data=bcss", "model=unet"])
    arguments = ["model.base_channels=interval(4,64)", "optim.lr=interval(0,1)", "loader.batch_size=interval(1.5,8)"]
    channels, rate, batch = fitted(read_space({}, arguments), config).parameters
    assert channels.whole
    assert not rate.whole
    assert not batch.whole  # the user has said something else


def test_values_are_short_and_the_same_on_the_command_line():
    rate = Number("optim.lr", 1e-5, 1.0, log=True)
    assert rate.override(0.00123456789) == "optim.lr=0.00123457"
    assert rate.override(1.0) == "optim.lr=1.0"
    for value in (1e-5, 0.3, 1e-07, 123456.7):
        (parsed,) = OverridesParser.create().parse_overrides([rate.override(value)])
        assert parsed.value() == float(f"{value:.6g}")
    assert Number("a", 1, 8, whole=True).override(3.0) == "a=3"


def test_the_points_of_a_grid():
    space = read_space({}, ["a=range(0.1,0.35,0.1)", "b=x,y"])
    points = list(space.points())
    assert [space.drawn(point) for point in points][:3] == [["a=0.1", "b=x"], ["a=0.1", "b=y"], ["a=0.2", "b=x"]]
    assert len(points) == 6
    for point in points:  # Optuna accepts all of them
        assert _distribution(space.parameters[0])._contains(point["a"])
    assert not list(read_space({}, ["a=interval(0,1)", "b=x,y"]).points())

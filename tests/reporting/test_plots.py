"""The figures: what they say, that they can share a page, and that their maths is right."""

import math
import re
from xml.etree import ElementTree

import pytest

from unet_exp.reporting.plots.bars import class_bars
from unet_exp.reporting.plots.calibration import reliability_diagram
from unet_exp.reporting.plots.canvas import SERIES, shorten
from unet_exp.reporting.plots.curves import mean_course, training_curves
from unet_exp.reporting.plots.forest import Difference, forest_plot
from unet_exp.reporting.plots.tradeoff import Cost, pareto_front, tradeoff_plot

HISTORY = [{"epoch": e, "train/loss": 2.0 - e, "val/loss": 2.5 - e} for e in range(2)]
NAMES = ["a <b> & $x^2$ \\n", "plain"]


def plots():
    nan = math.nan
    pair = Difference(f"{NAMES[0]} – {NAMES[1]}", 0.1, 0.05, 0.2, "better")
    costs = [Cost(name, 1.0 + i, 0.5, nan, nan) for i, name in enumerate(NAMES)]
    return {
        "forest": forest_plot("f", [pair], score="Dice", level=0.95),
        "bars": class_bars("b", ["tumor"], {name: [(0.5, nan, nan)] for name in NAMES}, score="Dice"),
        "curves": training_curves("c", "loss", {name: [HISTORY] for name in NAMES}),
        "tradeoff": tradeoff_plot("t", costs, cost="GMACs", score="Dice", order=NAMES),
        "calibration": reliability_diagram("r", {name: [(10, 0.9, 0.7)] for name in NAMES}, order=NAMES),
    }


@pytest.mark.parametrize("kind", ["forest", "bars", "curves", "tradeoff", "calibration"])
def test_every_figure_is_valid_has_a_text_alternative_and_shows_names_literally(kind):
    plot = plots()[kind]
    root = ElementTree.fromstring(str(plot.inline("p1")))
    assert root.get("role") == "img"
    assert NAMES[0] in root.get("aria-label")
    shown = " ".join("".join(element.itertext()) for element in root.iter() if element.tag.endswith("text"))
    assert NAMES[0] in shown
    assert "mathdefault" not in shown
    assert plot.pdf.startswith(b"%PDF")
    assert ElementTree.fromstring(plot.svg).tag.endswith("svg")


@pytest.mark.parametrize("kind", ["forest", "bars", "curves", "tradeoff", "calibration"])
def test_figures_follow_the_theme_and_do_not_clash_on_a_page(kind):
    plot = plots()[kind]
    first, second = str(plot.inline("p1")), str(plot.inline("p2"))
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (first, second)]
    assert not ids[0] & ids[1]
    for text, known in zip((first, second), ids, strict=True):
        referred = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text))
        assert {a or b for a, b in referred} == known
    assert not re.search("#[0-9a-f]{6}", re.sub('aria-label="[^"]*"', "", first))
    assert "var(--" in first


def test_the_same_content_gives_the_same_file():
    first, second = (
        forest_plot("f", [Difference("a – b", 0.1, 0, 0.2, "better")], score="Dice", level=0.95) for _ in "12"
    )
    assert first.svg == second.svg
    assert first.pdf == second.pdf
    assert SERIES[0].encode() not in first.svg


def test_pareto_front_by_hand():
    models = [
        Cost(n, c, v, 0, 1) for n, c, v in [("a", 5, 0.8), ("b", 1, 0.7), ("c", 3, 0.6), ("d", 5, 0.9), ("e", 9, 0.9)]
    ]
    assert [m.name for m in pareto_front(models)] == ["b", "d"]


def test_curves_need_something_logged():
    assert training_curves("c", "dice", {"m": [HISTORY]}) is None
    plot = training_curves("c", "loss", {"m": [HISTORY, HISTORY[:1]]})
    assert "m after 2 epochs: train 1.500, val 2.000" in plot.description


def test_the_mean_course_ends_where_the_first_seed_does():
    assert mean_course([{1: 0.2, 2: 0.4, 3: 0.9}, {1: 0.4, 2: 0.6}, {}]) == {
        1: pytest.approx(0.3),
        2: pytest.approx(0.5),
    }
    assert mean_course([{}]) == {}


def test_the_gap_of_the_reliability_diagram_is_weighted_by_pixels():
    plot = reliability_diagram("r", {"m": [(30, 0.9, 0.7), (10, 0.5, 0.5)]}, order=["m"])
    assert "+0.150" in plot.description  # (30 * 0.2 + 10 * 0) / 40


def test_long_names_keep_both_ends():
    assert shorten("a" * 40 + "end", 20) == "a" * 12 + "…" + "aaaaend"
    assert shorten("short") == "short"


def test_a_model_keeps_its_colour_when_another_is_left_out():
    order = ["absent", "m"]
    diagram = reliability_diagram("r", {"m": [(10, 0.9, 0.7)]}, order=order)
    tradeoff = tradeoff_plot("t", [Cost("m", 1, 0.5, 0.4, 0.6)], cost="GMACs", score="Dice", order=order)
    for plot in (diagram, tradeoff):
        assert "var(--series-1)" in plot.inline("p")
        assert "var(--series-0)" not in plot.inline("p")

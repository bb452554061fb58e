"""The table of published results: figures as in their sources, and honest about comparability."""

import pytest

from unet_exp.reporting.published import MEAN_SCORES, published_results

TABLE = published_results()
ROWS = [(name, row) for name, rows in TABLE.datasets.items() for row in rows]


@pytest.mark.parametrize(("name", "row"), ROWS, ids=lambda value: getattr(value, "model", value))
def test_every_row_is_a_fraction_with_a_source(name, row):
    assert row.scores
    assert all(0 < value < 1 for value in row.scores.values())
    assert row.source
    assert row.protocol
    assert row.why
    assert row.link is None or row.link.startswith("https://")


@pytest.mark.parametrize(
    "row", [r for name, r in ROWS if name == "bcss" and "dice_tumor" in r.scores], ids=lambda r: r.model
)
def test_the_mean_is_that_of_the_classes(row):
    for score in ("dice", "iou"):
        classes = [value for name, value in row.scores.items() if name.startswith(f"{score}_")]
        if classes:
            assert sum(classes) / len(classes) == pytest.approx(row.scores[score], abs=6e-4)


def test_a_figure_of_an_unknown_protocol_is_never_comparable():
    unknown = [row for _, row in ROWS if "not stated" in row.protocol]
    assert unknown
    assert {row.comparable for row in unknown} == {"no"}


def test_scores_of_single_classes_are_told_in_words():
    first = TABLE.datasets["bcss"][0]
    assert first.per_class.startswith("Dice tumor 0.851; Dice stroma 0.800")
    assert first.scores["dice"] == 0.750
    assert all(name in MEAN_SCORES for name in TABLE.datasets["isic2017"][0].scores)

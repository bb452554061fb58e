import math

import numpy as np
import pytest

from unet_exp.figure.curves import _class_curves, save_curves

NAN = math.nan


def lines(axes) -> dict[str, tuple[list[float], list[float]]]:
    """Points of every curve that is in the legend."""
    handles, names = axes.get_legend_handles_labels()
    return {n: (list(h.get_xdata()), list(h.get_ydata())) for h, n in zip(handles, names, strict=True)}


def history(epochs: int, **fixed: float) -> list[dict[str, float]]:
    names = ("train/loss", "val/loss", "train/dice", "val/dice", "train/accuracy", "val/accuracy")
    return [{"epoch": e, **dict.fromkeys(names, 1 - 1 / (e + 2)), **fixed} for e in range(epochs)]


@pytest.mark.parametrize("epochs", [0, 1, 2, 300])
@pytest.mark.parametrize("classes", [0, 2, 14])
def test_any_number_of_epochs_and_classes_can_be_drawn(tmp_path, drawn, epochs, classes):
    rows = history(epochs, **{f"val/dice_{i}": 0.1 * i for i in range(classes)})
    save_curves(rows, tmp_path / "curves.png", monitor="val/dice")
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert len(drawn[0].axes) == (4 if classes and epochs else 3)


def test_curves_show_what_the_history_says(tmp_path, drawn):
    rows = [
        {"epoch": 0, "train/loss": 3.0, "val/loss": 4.0},
        {"epoch": 1, "train/loss": 2.0, "val/loss": NAN, "val/dice_tumor": 0.5},
        {"epoch": 2, "train/loss": 1.0, "val/loss": 2.0, "val/dice_tumor": NAN},
    ]
    save_curves(rows, tmp_path / "curves.png", monitor="val/dice")
    loss, dice, _, classes = drawn[0].axes
    assert lines(loss) == {"train": ([1, 2, 3], [3, 2, 1]), "val": ([1, 3], [4, 2])}
    assert lines(dice) == {}
    assert dice.texts[0].get_text() == "not logged"
    assert lines(classes) == {"tumor": ([2], [0.5])}


def test_the_best_epoch_is_marked(tmp_path, drawn):
    rows = [{"epoch": e, "val/dice": d} for e, d in enumerate([0.2, NAN, 0.8, 0.8, 0.7])]
    save_curves(rows, tmp_path / "curves.png", monitor="val/dice")
    (figure,) = drawn
    assert figure.texts[0].get_text() == "best epoch 3 of 5: val/dice 0.800"
    dots = [tuple(np.ravel(line.get_data())) for line in figure.axes[1].get_lines() if line.get_marker() == "o"]
    assert dots == [(3, 0.8)]


def test_a_monitor_that_was_never_logged_marks_nothing(tmp_path, drawn):
    save_curves(history(3), tmp_path / "curves.png", monitor="val/dice_tumor")
    assert drawn[0].texts == []


def test_a_single_epoch_is_visible(tmp_path, drawn):
    save_curves(history(1), tmp_path / "curves.png", monitor="val/dice")
    loss = drawn[0].axes[0]
    assert all(line.get_marker() == "." for line in loss.get_legend_handles_labels()[0])
    low, high = loss.get_xlim()
    assert high - low >= 1


def test_classes_have_the_colours_and_the_order_of_the_other_pictures():
    history = [{"val/dice_stroma": 0.5, "val/dice_tumor": 0.6, "val/dice_fat": 0.7}]
    curves = _class_curves(history, {"tumor": (255, 0, 0), "absent": (1, 1, 1), "stroma": (0, 255, 0)})
    assert [curve.label for curve in curves] == ["tumor", "stroma", "fat"]
    assert [curve.color for curve in curves[:2]] == [(1.0, 0.0, 0.0, 1.0), (0.0, 1.0, 0.0, 1.0)]

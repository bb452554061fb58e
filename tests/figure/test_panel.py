import numpy as np
import pytest

from unet_exp.figure.panel import (
    Example,
    fit,
    prediction_panel,
    save_prediction_panel,
    select_examples,
)

CLASSES = {
    "class_names": ["background", "lesion"],
    "palette": [(0, 0, 0), (255, 127, 14)],
    "ignore_index": 255,
}


def example(height: int = 40, width: int = 60, *, mask_scale: int = 1, title: str = "case, Dice 0.5") -> Example:
    """Left half truth, upper half prediction, the lowest quarter ignored."""
    shape = height * mask_scale, width * mask_scale
    truth, prediction = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    truth[:, : shape[1] // 2] = 1
    truth[3 * shape[0] // 4 :] = 255
    prediction[: shape[0] // 2] = 1
    return Example(title, np.full((height, width, 3), 120, np.uint8), truth, prediction)


def pictures(figure) -> list[np.ndarray]:
    return [np.asarray(axes.get_images()[0].get_array()) for axes in figure.axes]


def test_a_row_has_image_truth_prediction_and_errors(tmp_path, drawn):
    save_prediction_panel([example()], tmp_path / "p.png", **CLASSES, hide=[0])
    image, truth, prediction, errors = pictures(drawn[0])
    assert (image == 120).all()
    assert (truth[5, 5] != image[5, 5]).any()
    assert (truth[5, 50] == image[5, 50]).all()
    assert (prediction[5, 50] != image[5, 50]).any()
    correct, wrong, also_wrong, also_correct = errors[5, 5], errors[5, 50], errors[25, 5], errors[25, 50]
    assert (correct == also_correct).all()
    assert (wrong == also_wrong).all()
    assert abs(correct.astype(float).mean() - wrong.astype(float).mean()) > 60  # told apart without colour
    assert (errors[-10:] == errors[-10:, :, :1]).all()  # ignored is grey whatever was predicted


def test_every_example_is_a_row_with_its_title(tmp_path, drawn):
    rows = [example(title="best: a"), example(title="worst: b", height=200)]
    save_prediction_panel(rows, tmp_path / "p.png", **CLASSES)
    texts = [text.get_text() for text in drawn[0].texts]
    assert texts == ["image", "truth", "prediction", "errors", "best: a", "worst: b"]
    assert len(drawn[0].axes) == 8


@pytest.mark.parametrize(("hide", "names"), [([0], ["lesion", "ignored"]), ([], ["background", "lesion", "ignored"])])
def test_the_legend_names_what_is_shown(tmp_path, drawn, hide, names):
    save_prediction_panel([example()], tmp_path / "p.png", **CLASSES, hide=hide)
    classes, errors = ([text.get_text() for text in legend.texts] for legend in drawn[0].legends)
    assert classes == names
    assert errors == ["correct", "wrong"]


def test_ignored_is_only_explained_where_there_is_any(tmp_path, drawn):
    one = example()
    save_prediction_panel([Example("a", one.image, one.prediction, one.prediction)], tmp_path / "p.png", **CLASSES)
    assert "ignored" not in [text.get_text() for text in drawn[0].legends[0].texts]


@pytest.mark.parametrize(
    ("height", "width", "size"), [(1024, 2048, (256, 512)), (900, 300, (512, 171)), (20, 30, (20, 30))]
)
def test_large_images_are_drawn_smaller_and_none_larger(height, width, size):
    small = fit(example(height, width, mask_scale=2), 512)
    assert small.image.shape[:2] == small.truth.shape == small.prediction.shape == size
    assert set(np.unique(small.truth)) == {0, 1, 255}


def test_the_panel_is_also_available_as_pixels():
    picture = prediction_panel([example()], **CLASSES)
    assert picture.ndim == 3
    assert picture.std() > 10


def test_no_example_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        save_prediction_panel([], tmp_path / "p.png", **CLASSES)


NAN = float("nan")


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ([], []),
        ([NAN, NAN], []),
        ([NAN, 0.3], [("only", 1)]),
        ([0.3, NAN, 0.9], [("best", 2), ("worst", 0)]),
        ([0.3, 0.9, NAN, 0.5], [("best", 1), ("median", 3), ("worst", 0)]),
        ([0.5, 0.5, 0.5], [("best", 0), ("median", 1), ("worst", 2)]),
        ([0.1, 0.2, 0.3, 0.4, 0.5], [("best", 4), ("median", 2), ("worst", 0)]),
    ],
)
def test_examples_are_distinct_and_skip_cases_without_a_score(scores, chosen):
    assert select_examples(np.array(scores, float)) == chosen

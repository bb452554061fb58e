import numpy as np
import pytest

from unet_exp.figure.confusion import save_confusion_matrix, short_count

NAMES = ["tumor", "stroma", "necrosis"]
MATRIX = np.array([[3_000_000, 1_000_000, 0], [250, 750, 0], [0, 0, 0]])


def cells(figure) -> dict[tuple[int, int], list[str]]:
    """Texts by (row, column)."""
    found: dict[tuple[int, int], list[str]] = {}
    for text in figure.axes[0].texts:
        column, row = text.get_position()
        found.setdefault((round(row), round(column)), []).append(text.get_text())
    return found


def test_rows_are_percentages_with_counts(tmp_path, drawn):
    save_confusion_matrix(MATRIX, tmp_path / "c.png", class_names=NAMES)
    found = cells(drawn[0])
    assert found[0, 0] == ["75.0 %", "3.00 M"]
    assert found[0, 1] == ["25.0 %", "1.00 M"]
    assert found[1, 0] == ["25.0 %", "250"]
    assert found[1, 2] == ["0.0 %", "0"]


def test_an_absent_class_has_dashes_and_no_zeros(tmp_path, drawn):
    save_confusion_matrix(MATRIX, tmp_path / "c.png", class_names=NAMES)
    found = cells(drawn[0])
    assert [found[2, column] for column in range(3)] == [["–"]] * 3


def test_axes_are_named_truth_and_prediction(tmp_path, drawn):
    save_confusion_matrix(MATRIX, tmp_path / "c.png", class_names=NAMES)
    axes = drawn[0].axes[0]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("truth", "prediction")
    assert [label.get_text() for label in axes.get_yticklabels()] == NAMES


@pytest.mark.parametrize("count", [1, 2, 14])
def test_any_number_of_classes_can_be_drawn(tmp_path, count):
    matrix = np.ones((count, count), int)
    save_confusion_matrix(matrix, tmp_path / "c.png", class_names=["c"] * count)
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_the_matrix_must_fit_the_names(tmp_path):
    with pytest.raises(ValueError, match="3 x 3"):
        save_confusion_matrix(np.ones((2, 2), int), tmp_path / "c.png", class_names=NAMES)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (9996, "10.0 k"),
        (12_345, "12.3 k"),
        (4_567_890_123, "4.57 G"),
    ],
)
def test_counts_are_short(count, text):
    assert short_count(count) == text

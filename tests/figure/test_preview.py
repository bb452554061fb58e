import numpy as np
import pytest
from matplotlib.collections import LineCollection
from PIL import Image

from unet_exp.figure import preview
from unet_exp.figure.preview import PreviewRow, save_preview_sheet

CLASSES = {
    "class_names": ["background", "lesion", "hair"],
    "palette": [(0, 0, 0), (255, 127, 14), (0, 0, 255)],
    "ignore_index": 255,
}


@pytest.fixture
def sheets(monkeypatch):
    """The figures that were written."""
    figures = []
    written = preview.write_png
    monkeypatch.setattr(preview, "write_png", lambda figure, path: (figures.append(figure), written(figure, path)))
    return figures


def sample(height: int = 40, width: int = 60, *, ignored: bool = False):
    """A lesion of 20 x 20 pixels on skin, perhaps with the lowest rows ignored."""
    labels = np.zeros((height, width), np.uint8)
    labels[10:30, 20:40] = 1
    if ignored:
        labels[-5:] = 255
    return np.full((height, width, 3), 120, np.uint8), labels


def row(title: str = "case", versions: int = 3, **options) -> PreviewRow:
    return PreviewRow(title, sample(**options), [sample(**options) for _ in range(versions)])


def outlines(axes) -> list[tuple[tuple[float, ...], np.ndarray]]:
    """Colour and points of every outline of a picture."""
    collections = [child for child in axes.get_children() if isinstance(child, LineCollection)]
    return [(tuple(c.get_color()[0][:3]), segment) for c in collections for segment in c.get_segments()]


def test_every_sample_is_a_row_with_the_original_first(tmp_path, sheets):
    original, changed = sample(), sample()
    changed[0][:] = 33
    save_preview_sheet([PreviewRow("a", original, [changed] * 3), row("b")], tmp_path / "p.png", **CLASSES)
    pictures = [np.asarray(axes.get_images()[0].get_array()) for axes in sheets[0].axes]
    assert len(pictures) == 8
    assert [int(picture[0, 0, 0]) for picture in pictures[:4]] == [120, 33, 33, 33]
    lefts = [axes.get_position().x0 for axes in sheets[0].axes[:4]]
    assert lefts == sorted(set(lefts))
    assert [text.get_text() for text in sheets[0].texts] == ["original", "augmented", "a", "b"]


def test_outlines_run_along_the_classes_in_their_colours(tmp_path, sheets):
    save_preview_sheet([row()], tmp_path / "p.png", **CLASSES, hide=[0])
    for axes in sheets[0].axes:
        ((color, points),) = outlines(axes)
        assert color == pytest.approx((1, 127 / 255, 14 / 255))
        assert points.min(0).tolist() == [20, 10]
        assert points.max(0).tolist() == [39, 29]
        assert (points[0] == points[-1]).all()  # closed


def test_lines_are_one_and_a_half_pixels_wide(tmp_path, sheets):
    save_preview_sheet([row()], tmp_path / "p.png", **CLASSES, hide=[0])
    (lines,) = (c for c in sheets[0].axes[0].get_children() if isinstance(c, LineCollection))
    assert lines.get_linewidth()[0] / 72 * sheets[0].dpi == pytest.approx(1.5)


def test_ignored_pixels_are_hatched_grey_and_explained(tmp_path, sheets):
    save_preview_sheet([row(ignored=True)], tmp_path / "p.png", **CLASSES, hide=[0])
    picture = np.asarray(sheets[0].axes[1].get_images()[0].get_array())
    assert (picture[-5:] != 120).all()
    assert (picture[-5:] == picture[-5:, :, :1]).all()
    assert (picture[:-5] == 120).all()
    assert [text.get_text() for text in sheets[0].legends[0].texts] == ["lesion", "hair", "ignored"]
    save_preview_sheet([row()], tmp_path / "p.png", **CLASSES)
    assert [text.get_text() for text in sheets[1].legends[0].texts] == ["background", "lesion", "hair"]


@pytest.mark.parametrize(("versions", "rows"), [(0, 1), (3, 2), (7, 6), (24, 1)])
def test_sheets_have_a_sensible_size_and_nothing_is_cut_off(tmp_path, sheets, versions, rows):
    save_preview_sheet([row(versions=versions) for _ in range(rows)], tmp_path / "p.png", **CLASSES)
    width, height = Image.open(tmp_path / "p.png").size
    assert 500 <= width <= 4200
    assert height <= 3000
    figure = sheets[0]
    boxes = [artist.get_window_extent() for artist in (*figure.axes, *figure.legends, *figure.texts)]
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width + 1
        assert box.y1 <= height + 1
    rectangles = [axes.get_position() for axes in figure.axes]
    for number, first in enumerate(rectangles):
        for second in rectangles[number + 1 :]:
            assert first.x1 <= second.x0 or second.x1 <= first.x0 or first.y1 <= second.y0 or second.y1 <= first.y0


def test_samples_of_other_shapes_keep_their_aspect(tmp_path, sheets):
    rows = [PreviewRow("turned", sample(40, 60), [sample(60, 40)])]
    save_preview_sheet(rows, tmp_path / "p.png", **CLASSES)
    width, height = sheets[0].get_size_inches()
    for axes, aspect in zip(sheets[0].axes, (40 / 60, 60 / 40), strict=True):
        box = axes.get_position()
        assert box.height * height / (box.width * width) == pytest.approx(aspect)


def test_no_row_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        save_preview_sheet([], tmp_path / "p.png", **CLASSES)

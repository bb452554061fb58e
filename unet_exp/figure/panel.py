"""Image, truth, prediction and errors side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from unet_exp.figure._canvas import INK, MUTED, RULE, new_figure, pixels, write_png
from unet_exp.figure.overlay import Color, hatch, overlay

_WRONG = (190, 24, 93)
_CORRECT = (150, 200, 235)
_MAX_SIDE = 512
# Inches; the layout is computed, because matplotlib's own leaves gaps around images of different shapes.
_CELL = 2.3
_GAP = 0.08
_MARGIN = 0.15
_HEADER = 0.3
_TITLE = 0.3
_LEGEND_ROW = 0.24
_LEGEND_COLUMNS = 6

_IGNORED = Patch(facecolor="#cdcdcd", edgecolor="#969696", hatch="////", label="ignored")


@dataclass(frozen=True)
class Example:
    """One case to draw.

    Args:
        title: For example case id and Dice.
        image: (h, w, 3) uint8.
        truth: (H, W) class ids; may differ in size from the image.
        prediction: (H, W) class ids.
    """

    title: str
    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    prediction: NDArray[np.uint8]


def select_examples(scores: NDArray[np.floating]) -> list[tuple[str, int]]:
    """Choose the best, the median and the worst case.

    Args:
        scores: One score per case, higher is better; NaN where a case has none.

    Returns:
        Label and index, all distinct: fewer than three where fewer cases have a score.
    """
    scored = np.flatnonzero(~np.isnan(scores))
    order = [int(i) for i in scored[np.argsort(-scores[scored], kind="stable")]]
    if len(order) < 3:
        return list(zip(("best", "worst") if len(order) == 2 else ("only",), order, strict=False))
    return [("best", order[0]), ("median", order[len(order) // 2]), ("worst", order[-1])]


def save_prediction_panel(
    examples: Sequence[Example],
    path: Path,
    *,
    class_names: Sequence[str],
    palette: Sequence[Color],
    ignore_index: int,
    hide: Sequence[int] = (),
) -> None:
    """Draw one row per example: image, truth, prediction, errors.

    Args:
        examples: At least one.
        path: The PNG file.
        class_names: Names in the order of the ids.
        palette: RGB per class id.
        ignore_index: Id of pixels without a label.
        hide: Class ids without tint and legend entry.

    Raises:
        ValueError: If there is no example.
    """
    figure = _draw(examples, class_names, palette, ignore_index, hide)
    write_png(figure, path)


def prediction_panel(
    examples: Sequence[Example],
    *,
    class_names: Sequence[str],
    palette: Sequence[Color],
    ignore_index: int,
    hide: Sequence[int] = (),
) -> NDArray[np.uint8]:
    """The picture of `save_prediction_panel` as pixels (H, W, 3)."""
    return pixels(_draw(examples, class_names, palette, ignore_index, hide))


def _draw(
    examples: Sequence[Example],
    class_names: Sequence[str],
    palette: Sequence[Color],
    ignore_index: int,
    hide: Sequence[int],
) -> Figure:
    if not examples:
        raise ValueError("a panel needs at least one example")
    rows = [pictures(fit(example, _MAX_SIDE), palette, ignore_index, hide) for example in examples]
    heights = [_CELL * row[0].shape[0] / row[0].shape[1] for row in rows]
    classes = [(name, palette[index]) for index, name in enumerate(class_names) if index not in hide]
    ignored = any((example.truth == ignore_index).any() for example in examples)
    legend_rows = max(1, -(-(len(classes) + ignored) // _LEGEND_COLUMNS))
    width = 2 * _MARGIN + 4 * _CELL + 3 * _GAP
    height = _HEADER + sum(heights) + len(rows) * _TITLE + _LEGEND_ROW * legend_rows + _MARGIN
    figure = new_figure(width, height)
    for number, name in enumerate(("image", "truth", "prediction", "errors")):
        center = _left(number) + _CELL / 2
        figure.text(center / width, 1 - (_HEADER - 0.06) / height, name, ha="center", fontsize=9, color=MUTED)
    top = height - _HEADER
    for example, row, row_height in zip(examples, rows, heights, strict=True):
        baseline = (top - _TITLE + 0.09) / height
        figure.text(_MARGIN / width, baseline, example.title, fontsize=9.5, color=INK, weight="bold")
        top -= _TITLE + row_height
        for number, picture in enumerate(row):
            _place(figure, picture, (_left(number) / width, top / height, _CELL / width, row_height / height))
    below = (top - 0.06) / height
    _legend(figure, [*map(_patch, classes), *([_IGNORED] if ignored else [])], (_left(0) / width, below))
    _legend(figure, [_patch(("correct", _CORRECT)), _patch(("wrong", _WRONG))], (_left(3) / width, below))
    return figure


def _left(column: int) -> float:
    """Left edge of a column of pictures in inches."""
    return _MARGIN + column * (_CELL + _GAP)


def _place(figure: Figure, picture: NDArray[np.uint8], box: tuple[float, float, float, float]) -> None:
    """Show a picture in a box (left, bottom, width, height) given as shares of the figure."""
    axes = figure.add_axes(box)
    axes.imshow(picture, aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(RULE)


def _patch(entry: tuple[str, Color]) -> Patch:
    name, (red, green, blue) = entry
    return Patch(facecolor=(red / 255, green / 255, blue / 255), edgecolor=RULE, label=name)


def _legend(figure: Figure, patches: Sequence[Patch], corner: tuple[float, float]) -> None:
    """Colours and names, the upper left corner at a place given as shares of the figure."""
    rows = -(-len(patches) // _LEGEND_COLUMNS)
    figure.legend(
        handles=patches,
        loc="upper left",
        bbox_to_anchor=corner,
        borderaxespad=0,
        borderpad=0.2,
        ncols=-(-len(patches) // rows) if rows else 1,
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        handlelength=1.1,
        handleheight=1.1,
        columnspacing=1.6,
    )


def fit(example: Example, max_side: int) -> Example:
    """Bring image, truth and prediction to one size of at most `max_side` pixels."""
    height, width = example.image.shape[:2]
    scale = min(1.0, max_side / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return Example(
        title=example.title,
        image=_resize(example.image, size, Image.Resampling.BOX),
        truth=_resize(example.truth, size, Image.Resampling.NEAREST),
        prediction=_resize(example.prediction, size, Image.Resampling.NEAREST),
    )


def _resize(array: NDArray[np.uint8], size: tuple[int, int], method: Image.Resampling) -> NDArray[np.uint8]:
    if array.shape[:2] == size:
        return array
    return np.asarray(Image.fromarray(array).resize(size[::-1], method), np.uint8)


def pictures(
    example: Example, palette: Sequence[Color], ignore_index: int, hide: Sequence[int]
) -> list[NDArray[np.uint8]]:
    """The four pictures (H, W, 3) of a row."""
    tinted = [
        overlay(example.image, labels, palette=palette, ignore_index=ignore_index, hide=hide)
        for labels in (example.truth, example.prediction)
    ]
    return [example.image, *tinted, _errors(example, ignore_index)]


def _errors(example: Example, ignore_index: int) -> NDArray[np.uint8]:
    """Correct, wrong and ignored pixels; they also differ in brightness, for those who see no colours."""
    ignored = example.truth == ignore_index
    wrong = (example.truth != example.prediction) & ~ignored
    colors = np.where(wrong[..., None], _WRONG, _CORRECT)
    pale = 150 + example.image.mean(2, keepdims=True) * (105 / 255)
    share = np.select([ignored, wrong], [0.0, 0.9], 0.35)
    mixed = pale + share[..., None] * (colors - pale)
    return hatch(mixed.round().astype(np.uint8), ignored)

"""Things that lie on the skin in dermoscopic images: hairs and rulers, drawn in dark ink."""

from abc import abstractmethod
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unet_exp.augmentation._base import CountRange, ImageTransform, Params, Pixels
from unet_exp.bounds import Probability

Coverage = NDArray[np.float32]
"""(H, W), from 0 to 1: how much of a pixel the ink hides."""
_CANVAS = 1024
"""Pixels of the longer side of the canvas that is drawn on and then shrunk: lines may be thinner than a pixel."""


class _InkTransform(ImageTransform):
    """Draws on a canvas, and lays that over every image of the sample."""

    @abstractmethod
    def draw(self, canvas: Pixels) -> None:
        """Draw on an empty canvas (h, w); 255 hides what is below."""

    def get_params_dependent_on_data(self, params: Params, data: Params) -> dict[str, Any]:  # noqa: ARG002
        """Draw the coverage and the colour of the ink."""
        height, width = params["shape"][:2]
        scale = max(1.0, _CANVAS / max(height, width))
        canvas = np.zeros((round(height * scale), round(width * scale)), np.uint8)
        self.draw(canvas)
        covered = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
        brightness = self.random_generator.uniform(10, 60)
        return {
            "coverage": covered.astype(np.float32) / 255,
            "ink": brightness * np.array([1.0, *self.random_generator.uniform([0.65, 0.5], [0.95, 0.9])]),
        }

    def apply(self, img: Pixels, coverage: Coverage, ink: NDArray[np.float64], **params: Any) -> Pixels:  # noqa: ARG002
        """Lay the ink over an image (H, W, 3)."""
        rows, columns = np.nonzero(coverage)
        share = coverage[rows, columns, None]
        below = img[rows, columns]
        inked = img.copy()
        inked[rows, columns] = (below + share * (ink - below)).round()
        return inked


class Hairs(_InkTransform):
    """Draws dark thin hairs, bent, thinner towards the tip, most of them lying about the same way.

    Args:
        count: Range of their number.
        p: Share of the samples with hairs.
    """

    def __init__(self, *, count: CountRange = (4, 25), p: Probability = 0.2) -> None:
        super().__init__(p=p)
        self.count = count

    def draw(self, canvas: Pixels) -> None:
        """Draw all hairs of a sample."""
        generator = self.random_generator
        direction = generator.uniform(0, 2 * np.pi)
        thickness = generator.uniform(2.5, 6.0)
        for _ in range(int(generator.integers(self.count[0], self.count[1], endpoint=True))):
            self._draw_hair(canvas, direction + generator.normal(0, 0.45), thickness * generator.uniform(0.6, 1.2))

    def _draw_hair(self, canvas: Pixels, direction: float, thickness: float) -> None:
        generator = self.random_generator
        height, width = canvas.shape
        length = max(height, width) * generator.uniform(0.25, 0.8)
        points = _arc(direction, length, bend=generator.normal(0, 0.5), twist=generator.normal(0, 0.25))
        points += generator.uniform(-0.1, 1.1, 2) * (width, height)
        opacity = generator.uniform(0.7, 1.0)
        parts = 6
        for part in range(parts):
            piece = points[part * len(points) // parts : (part + 1) * len(points) // parts + 1]
            _draw_line(canvas, piece, thickness * (1 - 0.65 * part / parts), opacity)


class Ruler(_InkTransform):
    """Draws the tick marks of a ruler along one border; every fifth is longer.

    Args:
        p: Share of the samples with a ruler.
    """

    def __init__(self, *, p: Probability = 0.05) -> None:
        super().__init__(p=p)

    def draw(self, canvas: Pixels) -> None:
        """Draw the ticks, and half of the time the line they stand on."""
        generator = self.random_generator
        height, width = canvas.shape
        side = max(height, width)
        spacing, depth = side * generator.uniform(0.02, 0.045), side * generator.uniform(0.02, 0.035)
        distance, tilt = side * generator.uniform(0.0, 0.05), generator.uniform(-0.04, 0.04)
        thickness, opacity = generator.uniform(2.0, 4.0), generator.uniform(0.6, 0.95)
        axes = _border_axes(int(generator.integers(4)), height, width)
        along = np.arange(generator.uniform(0, spacing), side * generator.uniform(0.5, 1.0), spacing)
        for number, position in enumerate(along):
            base = distance + tilt * position
            tip = base + depth * (1.8 if number % 5 == 0 else 1.0)
            _draw_line(canvas, _place(axes, [(position, base), (position, tip)]), thickness, opacity)
        if generator.random() < 0.5:
            ends = [(position, distance + tilt * position) for position in (0.0, along[-1])]
            _draw_line(canvas, _place(axes, ends), thickness, opacity)


def _arc(direction: float, length: float, *, bend: float, twist: float) -> NDArray[np.float64]:
    """Points (n, 2) of a curve about the origin whose direction changes by `bend`, and its bend by `twist`."""
    steps = np.linspace(-0.5, 0.5, 49)
    angles = direction + bend * steps + 4 * twist * steps**2
    points = np.cumsum(np.stack([np.cos(angles), np.sin(angles)], axis=1), axis=0) * (length / len(steps))
    return np.asarray(points - points.mean(0))


def _border_axes(border: int, height: int, width: int) -> tuple[NDArray[np.float64], ...]:
    """A corner (x, y), the direction along a border from there, and the direction inwards."""
    axes = (
        ((0, 0), (1, 0), (0, 1)),
        ((0, height - 1), (1, 0), (0, -1)),
        ((0, 0), (0, 1), (1, 0)),
        ((width - 1, 0), (0, 1), (-1, 0)),
    )
    return tuple(np.array(vector, np.float64) for vector in axes[border])


def _place(axes: tuple[NDArray[np.float64], ...], positions: list[tuple[float, float]]) -> NDArray[np.float64]:
    """Points (n, 2) on the canvas, from positions along and away from a border."""
    corner, along, inwards = axes
    return np.array([corner + position * along + depth * inwards for position, depth in positions])


def _draw_line(canvas: Pixels, points: NDArray[np.float64], thickness: float, opacity: float) -> None:
    """Draw a smooth line through points (n, 2) of x and y."""
    fixed = (points * 16).round().astype(np.int32)  # OpenCV takes sixteenths of a pixel as integers
    shade = round(255 * opacity)
    cv2.polylines(canvas, [fixed], False, shade, max(1, round(thickness)), cv2.LINE_AA, 4)

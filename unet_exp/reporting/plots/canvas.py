"""A figure without pyplot that becomes a file for a paper, and part of a page that knows light and dark.

Colours are drawn in the light theme and replaced by the page's variables when the figure is put into it, so that a
figure follows the theme; text stays text, so that it can be searched and takes the page's font.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#1f2328"
MUTED = "#59636e"
RULE = "#d0d7de"
PAPER = "#ffffff"
BETTER = "#0f6cbd"
WORSE = "#b3401a"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#a6478f", "#9a6700", "#3a8fb7", "#6639ba", "#4d4d4f")
"""Okabe and Ito's hues, dark enough for text on white; the page has a lighter set for its dark theme."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""One per colour of the series, so that no figure relies on colour alone."""
DRAWN = len(SERIES)
"""So many models are told apart in a figure; tables hold them all."""

WIDTH = 4.4
"""Inches. 317 points on a page of 390 pixels: text is read on a phone without zooming."""

_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    PAPER: "--paper",
    BETTER: "--better",
    WORSE: "--worse",
    **{color: f"--series-{number}" for number, color in enumerate(SERIES)},
}
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "unet_exp",  # the same figure gives the same file
    "pdf.fonttype": 42,  # journals refuse type 3 fonts
    "text.parse_math": False,  # a run may be called $x$
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.labelcolor": INK,
}
_SVG = "http://www.w3.org/2000/svg"
_LINK = "http://www.w3.org/1999/xlink"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_COLOR = re.compile("|".join(_VARIABLES))

ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", _LINK)


@dataclass(frozen=True)
class Plot:
    """A figure and what it says.

    Args:
        name: Its file is called so, without suffix.
        title: Short heading.
        description: What a reader would see, in words: the text alternative.
        figure: Drawn in the colours of the light theme.
    """

    name: str
    title: str
    description: str
    figure: Figure

    def inline(self, prefix: str) -> Markup:
        """The figure as an svg element in the page's colours.

        Args:
            prefix: Unique on the page; ids inside the figure start with it.
        """
        root = ElementTree.fromstring(self.svg)
        for unwanted in ("metadata", "defs"):
            for element in root.findall(f"{{{_SVG}}}{unwanted}"):
                if unwanted == "metadata" or element.find(f"{{{_SVG}}}style") is not None:
                    root.remove(element)
        _localise(root, prefix)
        for size in ("width", "height"):
            root.attrib.pop(size)
        root.attrib.update({"role": "img", "aria-label": f"{self.title}. {self.description}", "class": "plot"})
        # ElementTree has escaped every text: nothing of a run's name is markup here.
        return Markup(ElementTree.tostring(root, encoding="unicode"))

    @cached_property
    def svg(self) -> bytes:
        """The figure as an SVG file without a background, the same bytes for the same content."""
        return self._save("svg", {"Date": None})

    @cached_property
    def pdf(self) -> bytes:
        """The figure as a PDF file, likewise."""
        return self._save("pdf", {"CreationDate": None})

    def _save(self, suffix: str, metadata: Any) -> bytes:
        with rc_context(_STYLE):
            buffer = io.BytesIO()
            self.figure.savefig(buffer, format=suffix, transparent=True, metadata=metadata)
        return buffer.getvalue()


def _localise(root: ElementTree.Element, prefix: str) -> None:
    """Make ids unique on the page, drop those nobody refers to, and exchange colours for variables."""
    href = f"{{{_LINK}}}href"
    used = {element.get(href, "")[1:] for element in root.iter()}
    used |= {name for element in root.iter() for value in element.attrib.values() for name in _REFERENCE.findall(value)}
    for element in root.iter():
        for key, value in element.attrib.items():
            changed = _REFERENCE.sub(rf"url(#{prefix}-\1)", value)
            element.set(key, _COLOR.sub(lambda match: f"var({_VARIABLES[match[0]]})", changed))
        if element.get(href):
            element.set(href, f"#{prefix}-{element.attrib[href][1:]}")
        name = element.attrib.pop("id", None)
        if name in used:
            element.set("id", f"{prefix}-{name}")


@contextmanager
def drawing(height: float) -> Iterator[tuple[Figure, Axes]]:
    """A new figure of the usual width, `height` inches high, and its axes, drawn in the report's style."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.subplots()
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it has done its work, and would do it again for every file


def shorten(text: str, length: int = 34) -> str:
    """A name that fits beside a figure, its middle left out."""
    if len(text) <= length:
        return text
    head = (length - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"

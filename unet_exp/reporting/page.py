"""Turning views into text: the page, its Markdown and LaTeX companions. Every name is escaped for its format."""

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

import unet_exp
from unet_exp.reporting import text
from unet_exp.reporting.runs import Inventory, printable
from unet_exp.reporting.settings import ReportSettings
from unet_exp.reporting.views import SectionView

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\N{MINUS SIGN}": "$-$",
    "–": "--",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_MARKDOWN = {"<": "&lt;", ">": "&gt;", "&": "&amp;", **{c: f"\\{c}" for c in "\\`*_{}[]#|~$"}}


def render(
    views: Sequence[SectionView], inventory: Inventory, settings: ReportSettings, *, collected: str
) -> dict[str, str]:
    """The text files of the report by name.

    Args:
        views: The sections.
        inventory: What was found and left out.
        settings: What was asked for.
        collected: When the published results were collected.
    """
    context = {
        "views": views,
        "settings": settings,
        "title": settings.title or _title(views),
        "left_out": inventory.left_out,
        "run_count": len(inventory.runs),
        "model_count": len({entry.name for view in views for entry in view.section.entries}),
        "pictured": len({name for view in views for name in view.cases}),
        "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": unet_exp.__version__,
        "collected": collected,
        "nan": math.nan,
        "page_size": "",
    }
    html = _environment(escape=True)
    page = html.get_template("report.html.j2")
    first = page.render(context | _assets())
    plain = _environment(escape=False)
    return {
        "report.html": page.render(context | _assets() | {"page_size": text.size(len(first.encode()))}),
        "report.md": plain.get_template("report.md.j2").render(context),
        "results.tex": plain.get_template("results.tex.j2").render(context),
    }


def _title(views: Sequence[SectionView]) -> str:
    names = {entry.name for view in views for entry in view.section.entries}
    return "Which model is better?" if len(names) > 1 else f"{names.pop()} on {views[0].section.place.dataset}"


def latex(value: object) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_LATEX.get(character, character) for character in printable(str(value)))


def markdown(value: object) -> str:
    """Text that Markdown shows as it is."""
    return "".join(_MARKDOWN.get(character, character) for character in printable(str(value)))


def _assets() -> dict[str, Any]:
    """Style and script of the page, and the hash by which the page allows this script and no other."""
    folder = files("unet_exp.reporting") / "templates"
    script = (folder / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = (folder / "style.css").read_text(encoding="utf-8")
    # Both are files of this package; nothing of a run is in them.
    return {"style": Markup(style), "script": Markup(script), "script_hash": digest}


def _environment(*, escape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("unet_exp.reporting"),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": text.score,
        "signed": text.signed,
        "interval": text.interval,
        "probability": text.probability,
        "millions": text.millions,
        "amount": text.amount,
        "duration": text.duration,
        "printable": printable,
        "breakable": breakable,
        "latex": latex,
        "markdown": markdown,
        "class_counts": _class_counts,
    }
    return environment


def breakable(value: object) -> Markup:
    """Escaped text that may be broken after an underscore, rather than in the middle of a word."""
    return Markup(str(escape(printable(str(value)))).replace("_", "_<wbr>"))


def _class_counts(counts: Mapping[str, float]) -> list[tuple[str, str]]:
    return [(name, text.amount(count)) for name, count in counts.items()]

"""The whole report, from run folders to files."""

import os
from collections.abc import Sequence
from pathlib import Path

from unet_exp.errors import DataError, UserError
from unet_exp.files import write_atomically, write_csv, write_text
from unet_exp.reporting.page import render
from unet_exp.reporting.published import published_results
from unet_exp.reporting.runs import find_run_folders, read_runs
from unet_exp.reporting.sections import make_sections
from unet_exp.reporting.settings import ReportSettings
from unet_exp.reporting.tables import result_rows
from unet_exp.reporting.text import size
from unet_exp.reporting.views import SectionView, make_views
from unet_exp.run.console import print_table


def build_report(settings: ReportSettings) -> Path:
    """Read the runs, compare them, write the report and say where it is.

    Args:
        settings: What is asked for.

    Returns:
        The page.

    Raises:
        UserError: If no run can be reported.
        DataError: If the report is written but a run had to be left out because it is damaged.
    """
    patterns = [settings.runs] if isinstance(settings.runs, str) else settings.runs
    folders = find_run_folders(patterns)
    inventory = read_runs(folders)
    sections = make_sections(inventory, settings)
    if not sections:
        reasons = "\n".join(f"  {item.path}: {item.reason}" for item in inventory.left_out)
        raise UserError(f"runs: none of the {len(folders)} runs can be reported:\n{reasons}")
    published = published_results()
    views = make_views(sections, settings, published.datasets)
    output = Path(settings.output) if settings.output else _beside(folders)
    figures = _write_figures(views, output / "figures")
    write_csv(output / "results.csv", result_rows(sections))
    for name, content in render(views, inventory, settings, collected=published.collected).items():
        write_text(output / name, content)
    page = output / "report.html"
    for view in views:
        print_table(view.section.heading, [(s.entry.name, f"{view.score} {s.value:.4f}") for s in view.standings])
    rows = [("page", f"{page} ({size(page.stat().st_size)})"), ("tables", output / "results.csv")]
    print_table("Written", [*rows, ("figures", f"{figures} in {output / 'figures'}")])
    if inventory.left_out:
        print_table("Left out", [(str(item.path), item.reason) for item in inventory.left_out])
    damaged = [str(item.path) for item in inventory.left_out if item.damaged]
    if damaged:
        raise DataError(f"the report is written, but without damaged runs: {', '.join(damaged)}")
    return page


def _beside(folders: Sequence[Path]) -> Path:
    """`report` in the deepest folder that holds all runs."""
    return Path(os.path.commonpath([folder.resolve().parent for folder in folders])) / "report"


def _write_figures(views: Sequence[SectionView], folder: Path) -> int:
    plots = [plot for view in views for group in view.plots.values() for plot in group]
    for plot in plots:
        write_atomically(folder / f"{plot.name}.svg", plot.svg)
        write_atomically(folder / f"{plot.name}.pdf", plot.pdf)
    return len(plots)

"""Preparing one dataset: the work behind ``python -m unet_exp.prepare``."""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from unet_exp.check import check_config
from unet_exp.config import PrepareSettings
from unet_exp.data._collection import (
    Collection,
    Examined,
    conversion_of,
    examine_collection,
    open_collection,
    say,
    unused_stores,
)
from unet_exp.data._source import ImageSource, MissingDataError
from unet_exp.data._split import make_split
from unet_exp.data._store import DamagedStoreError, Store
from unet_exp.data._verify import findings_table, write_findings
from unet_exp.errors import DataError, counted
from unet_exp.instantiate import build
from unet_exp.run.console import print_table

_UNFINISHED = ".download-unfinished"
"""Marks a folder whose download has begun and not ended: the next call continues it."""


def prepare(config: DictConfig, *, names: Mapping[str, str]) -> None:
    """Carry out the stages that the configuration asks for.

    Args:
        config: The composed configuration.
        names: Chosen option of every group, for file names.

    Raises:
        UserError: If something outside the program is wrong.
    """
    without_preview = config.copy()
    # The augmentation is checked with the preview: importing albumentations takes longer than all the rest.
    without_preview.augmentation = {}
    plain = check_config(without_preview, PrepareSettings)
    stage = plain["stage"]
    source: ImageSource = build(plain, "data")
    output = Path(plain["output"] or Path("outputs") / "prepare" / names["data"])
    store_folder = Path(plain["store_folder"])
    _get(source, plain)
    if stage == "download":
        print_table(f"Downloaded {names['data']}", [("folder", source.root)])
        return
    examined = examine_collection(source, store_folder, jobs=plain["jobs"], fresh=stage == "verify")
    rows = _report_findings(source, examined, output)
    if stage == "verify":
        rows += _check_store(source, examined, store_folder)
        print_table(f"Verified {names['data']}", rows)
        return
    collection = open_collection(source, store_folder, jobs=plain["jobs"], examined=examined)
    rows += _describe(source, collection, store_folder)
    if stage in ("all", "preview"):
        sheet = output / f"preview-{names['augmentation']}-{collection.store.key[:8]}.png"
        if stage == "preview" or not sheet.is_file():
            _preview(config, source, collection, sheet)
        rows.append(("preview", sheet))
    print_table(f"Prepared {names['data']}", rows)


def _get(source: ImageSource, plain: Mapping[str, Any]) -> None:
    """Get the files: by hand, by making them, or by download where that is asked for or they are missing."""
    from unet_exp.data._download.manual import import_by_hand

    if plain["archive"]:
        import_by_hand(Path(plain["archive"]), Path(source.root))
    source.prepare()
    marker = Path(source.root) / _UNFINISHED
    wanted = plain["stage"] == "download" or (plain["stage"] == "all" and (marker.exists() or _is_missing(source)))
    if not wanted:
        return
    settings = build(plain, "download")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Hydra would print a line per request
    if source.downloadable:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    source.download(settings)
    marker.unlink(missing_ok=True)


def _is_missing(source: ImageSource) -> bool:
    try:
        source.scan()
    except MissingDataError:
        return source.downloadable
    return False


def _report_findings(source: ImageSource, examined: Examined, output: Path) -> list[tuple[str, Any]]:
    """Print and write what is wrong or unusual; faults end the command."""
    table = output / "findings.csv"
    write_findings(examined.findings, table)
    faults = sum(finding.severity == "fault" for finding in examined.findings)
    warnings = len(examined.findings) - faults
    if examined.findings:
        sys.stdout.write(findings_table(examined.findings, table) + "\n")
    if faults:
        raise DataError(
            f"{source.root}: {counted(faults, 'fault')} in {len(examined.cases)} complete cases "
            f"and the files beside them. All of them, with what to do, are in {table}."
        )
    return [
        ("files", f"{len(examined.cases)} cases in {source.root}: no fault, {counted(warnings, 'warning')}"),
        ("findings", table),
    ]


def _check_store(source: ImageSource, examined: Examined, store_folder: Path) -> list[tuple[str, Any]]:
    """Compare every byte of the store, if there is one, with its check sums."""
    conversion = conversion_of(source, examined)
    folder = store_folder / conversion.folder_name
    if not folder.exists():
        return [("store", "not made yet")]
    try:
        Store(folder, conversion.key).check()
    except DamagedStoreError as error:
        return [("store", f"{folder} is damaged: {error}. The next use builds it again.")]
    return [("store", f"{folder}: all check sums are right")]


def _describe(source: ImageSource, collection: Collection, store_folder: Path) -> list[tuple[str, Any]]:
    split = make_split(collection.cases, source.split)
    pixels = [sum(case.class_pixels[k] for case in collection.cases) for k in range(len(source.classes))]
    total = max(1, sum(pixels))
    shares = ", ".join(f"{name} {100 * n / total:.1f} %" for name, n in zip(source.class_names, pixels, strict=True))
    rows = [("split", f"{split.counts} ({split.scheme})"), ("classes", shares)]
    stores = [collection.store, *collection.contexts.values()]
    rows += [("store", f"{store.folder}, {store.size / 1e6:,.1f} MB") for store in stores]
    others = unused_stores(store_folder, collection, source.name)
    if others:
        rows.append(("other stores", f"{', '.join(map(str, others))}; delete those that no run needs any more"))
    return rows


def _preview(config: DictConfig, source: ImageSource, collection: Collection, sheet: Path) -> None:
    """Draw training samples and augmented versions of them."""
    plain = check_config(config, PrepareSettings)
    from unet_exp.data._preview import preview_samples
    from unet_exp.figure.preview import PreviewRow, save_preview_sheet

    cases = _spread(sorted(collection.cases, key=lambda case: case.id), plain["preview_cases"])
    samples = preview_samples(
        source,
        [collection.store[case.id] for case in cases],
        build(plain, "augmentation"),
        versions=plain["preview_versions"],
        seed=plain["seed"],
    )
    sheet.parent.mkdir(parents=True, exist_ok=True)
    save_preview_sheet(
        [PreviewRow(case.id, first, rest) for case, (first, *rest) in zip(cases, samples, strict=True)],
        sheet,
        class_names=source.class_names,
        palette=source.palette,
        ignore_index=source.ignore_index,
        hide=source.unscored_classes,
    )
    say(f"Wrote {sheet}")


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """Some items, evenly over all of them."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]

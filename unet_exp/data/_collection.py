"""From files to an open store: what preparing a dataset and training on it have in common."""

import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unet_exp.data._case import Case
from unet_exp.data._catalog import Catalog
from unet_exp.data._convert import Conversion, open_store
from unet_exp.data._examination import Examination
from unet_exp.data._finding import Finding, refuse_faults
from unet_exp.data._fingerprint import is_current
from unet_exp.data._likeness_file import LikenessFile
from unet_exp.data._source import ImageSource
from unet_exp.data._split import assign_parts
from unet_exp.data._store import Store
from unet_exp.data._verify import verify

DEFAULT_JOBS = min(8, os.cpu_count() or 1)
"""Files read at the same time; each holds one decoded image in memory."""


@dataclass(frozen=True)
class Examined:
    """A dataset whose files were all opened once.

    Args:
        cases: The readable cases, with content hashes and class pixels.
        examinations: What was seen, by case id.
        findings: Faults and warnings.
    """

    cases: list[Case]
    examinations: Mapping[str, Examination]
    findings: list[Finding]


@dataclass(frozen=True)
class Collection:
    """A dataset ready to be served.

    Args:
        cases: All cases, with content hashes and class pixels.
        store: Their arrays at the network's resolution.
        contexts: Their arrays at coarser resolutions, by how many times coarser.
    """

    cases: list[Case]
    store: Store
    contexts: Mapping[int, Store]


def say(text: str) -> None:
    """Tell the user on stderr, which is for people; stdout is for results."""
    sys.stderr.write(f"{text}\n")


def examine_collection(
    source: ImageSource, store_folder: Path, *, jobs: int = DEFAULT_JOBS, fresh: bool = False
) -> Examined:
    """Open every file that is not known to be unchanged since it was examined last.

    Args:
        source: The dataset.
        store_folder: Where the catalogue of earlier examinations is kept.
        jobs: Files read at the same time.
        fresh: Open every file, known or not.

    Raises:
        DataError: If there are no files at all.
    """
    scan = source.scan()
    catalog = Catalog(_catalog_file(source, store_folder))

    def is_enough(seen: Examination) -> bool:
        return is_current(seen.fingerprint) or not source.compares_images

    examinations = catalog.examine_all(scan.cases, source.examine, jobs=jobs, fresh=fresh, is_enough=is_enough)
    cases = [_with_content(case, examinations[case.id], source) for case in scan.cases]
    if source.compares_images:
        looks = {case.id: examinations[case.id].fingerprint for case in cases}
        alike = LikenessFile(_catalog_file(source, store_folder, "-alike")).compare(looks, jobs=jobs)
        cases = [replace(case, alike=alike[case.id]) for case in cases]
    _, parts = assign_parts(cases, source.split)
    findings = [
        *scan.findings,
        *verify(cases, examinations, source.label_map, parts=parts, scored_classes=source.scored_classes),
    ]
    return Examined(cases, examinations, findings)


def conversion_of(source: ImageSource, examined: Examined) -> Conversion:
    """What the store of a dataset is made of.

    Raises:
        DataError: If its files have faults.
    """
    refuse_faults(examined.findings, source.root)
    return source.conversion(examined.cases, examined.examinations)


def open_collection(
    source: ImageSource,
    store_folder: Path,
    *,
    jobs: int = DEFAULT_JOBS,
    examined: Examined | None = None,
    tell: Callable[[str], None] = say,
) -> Collection:
    """Open the store of a dataset; examine and convert its files first where that has not been done.

    Args:
        source: The dataset.
        store_folder: Folder of all stores.
        jobs: Files read at the same time.
        examined: What `examine_collection` gave, if it was called already.
        tell: Told what takes time.

    Raises:
        DataError: If files have faults, or the disk is full.
    """
    examined = examined or examine_collection(source, store_folder, jobs=jobs)
    store = open_store(conversion_of(source, examined), store_folder, jobs=jobs, say=tell)
    contexts = {
        factor: open_store(conversion, store_folder, jobs=jobs, say=tell)
        for factor, conversion in source.context_conversions(store, examined.cases).items()
    }
    return Collection(examined.cases, store, contexts)


def _with_content(case: Case, examination: Examination, source: ImageSource) -> Case:
    return replace(
        case,
        content=examination.image_content,
        mask_content=examination.mask_content,
        class_pixels=source.label_map.class_pixels(examination.code_pixels),
    )


def _catalog_file(source: ImageSource, store_folder: Path, ending: str = "") -> Path:
    """One catalogue per dataset folder, wherever it is."""
    place = hashlib.sha256(str(Path(source.root).resolve()).encode()).hexdigest()[:8]
    return store_folder / "catalog" / f"{source.name}-{place}{ending}.json"


def unused_stores(store_folder: Path, collection: Collection, name: str) -> Sequence[Path]:
    """Stores of the same dataset that hold other content or another resolution."""
    used = {collection.store.folder, *(store.folder for store in collection.contexts.values())}
    return sorted(path for path in store_folder.glob(f"{name}-*") if path.is_dir() and path not in used)

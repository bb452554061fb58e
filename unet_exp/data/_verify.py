"""Is a dataset what training takes it for? All faults and warnings at once."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from unet_exp.data._case import Case, LabelMap, Part
from unet_exp.data._examination import Examination
from unet_exp.data._finding import KINDS, Finding
from unet_exp.errors import counted
from unet_exp.files import write_csv

_CODES_SHOWN = 24
_COLUMNS = ("severity", "kind", "file", "detail", "remedy")


def verify(
    cases: Sequence[Case],
    examinations: Mapping[str, Examination],
    label_map: LabelMap,
    *,
    parts: Mapping[str, Part],
    scored_classes: Collection[int],
) -> list[Finding]:
    """Judge what was seen in the files of a dataset.

    Args:
        cases: The cases.
        examinations: What was seen, by case id.
        label_map: From codes in mask files to class ids.
        parts: Part of the split that each case id is in; cases that the split does not use are left out.
        scored_classes: Ids of the classes that count in the scores.

    Returns:
        Faults first, in the order of `KINDS`, then by file.
    """
    findings = [
        finding
        for case in cases
        for finding in (
            *examinations[case.id].findings(case),
            *_size_findings(case, examinations[case.id]),
            *_code_findings(case, examinations[case.id], label_map, scored_classes),
        )
    ]
    return sorted([*findings, *_duplicates(cases, examinations, parts)], key=_order)


def _order(finding: Finding) -> tuple[int, str, str]:
    return list(KINDS).index(finding.kind), str(finding.file), finding.detail


def _size_findings(case: Case, examination: Examination) -> Iterator[Finding]:
    image, mask = examination.image_shape, examination.mask_shape
    if image and mask and image[: len(mask)] != mask:
        detail = f"The mask is {_size(mask)} px (height x width), its image {case.image.name} {_size(image)} px."
        yield Finding(kind="size_mismatch", file=case.mask, detail=detail)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)


def _code_findings(
    case: Case, examination: Examination, label_map: LabelMap, scored_classes: Collection[int]
) -> Iterator[Finding]:
    code_pixels = examination.code_pixels
    unknown = {code for code in code_pixels if label_map.class_of(code) is None}
    if not code_pixels:
        return
    if unknown:
        yield Finding(kind="unknown_code", file=case.mask, detail=_histogram(code_pixels, unknown))
        return
    class_pixels = label_map.class_pixels(code_pixels)
    if not any(class_pixels):
        yield Finding(kind="all_ignored", file=case.mask, detail=_histogram(code_pixels, unknown))
    elif not any(class_pixels[index] for index in scored_classes):
        yield Finding(kind="empty_mask", file=case.mask, detail=_histogram(code_pixels, unknown))


def _histogram(code_pixels: Mapping[int, int], unknown: Collection[int]) -> str:
    """Pixels of each code, e.g. ``0 (90 px), unknown 77 (6 px)``; of many, first the unknown and the frequent ones."""
    important = sorted(code_pixels, key=lambda code: (code not in unknown, -code_pixels[code]))
    shown = sorted(important[:_CODES_SHOWN])
    listed = [f"{'unknown ' if code in unknown else ''}{code} ({code_pixels[code]} px)" for code in shown]
    rest = len(code_pixels) - len(shown)
    return f"Codes: {', '.join(listed)}{f' and {rest} more' if rest else ''}."


def _duplicates(
    cases: Sequence[Case], examinations: Mapping[str, Examination], parts: Mapping[str, Part]
) -> Iterator[Finding]:
    groups: dict[str, list[Case]] = {}
    for case in sorted(cases, key=lambda case: case.id):
        if content := examinations[case.id].image_content:
            groups.setdefault(content, []).append(case)
    for group in groups.values():
        for position, case in enumerate(group[1:], 1):
            yield from _duplicate_findings(case, group[:position], examinations, parts)


def _duplicate_findings(
    case: Case, earlier: Sequence[Case], examinations: Mapping[str, Examination], parts: Mapping[str, Part]
) -> Iterator[Finding]:
    """What is to be said about an image that was seen before."""

    def finding(kind: str, other: Case) -> Finding:
        place, other_place = parts.get(case.id, "unused"), parts.get(other.id, "unused")
        detail = f"The same pixels as {other.image} ({other_place}); this one is in part {place}."
        return Finding(kind=kind, file=case.image, detail=detail)

    masks = examinations[case.id].mask_content
    part = parts.get(case.id)
    elsewhere = [other for other in earlier if part and parts.get(other.id, part) != part]
    contradicting = [other for other in earlier if examinations[other.id].mask_content != masks]
    if elsewhere:
        yield finding("duplicate_across_parts", elsewhere[0])
    if contradicting:
        yield finding("conflicting_masks", contradicting[0])
    if not elsewhere and not contradicting:
        yield finding("duplicate_image", earlier[0])


def write_findings(findings: Sequence[Finding], path: Path) -> None:
    """Write a CSV file with one row per finding.

    Raises:
        OSError: If it cannot be written.
    """
    write_csv(path, [{column: getattr(finding, column) for column in _COLUMNS} for finding in findings], _COLUMNS)


def findings_table(findings: Sequence[Finding], csv_path: Path | None = None, *, lines_per_kind: int = 5) -> str:
    """The findings as text for a terminal, grouped by kind.

    Args:
        findings: What was found.
        csv_path: Where all of them are listed, to be named where some are left out.
        lines_per_kind: Files shown of each kind.
    """
    severities = Counter(finding.severity for finding in findings)
    lines = [f"{counted(severities['fault'], 'fault')}, {counted(severities['warning'], 'warning')}"]
    for kind, group in groupby(sorted(findings, key=_order), key=lambda finding: finding.kind):
        lines += ["", *_kind_lines(kind, list(group), csv_path, lines_per_kind)]
    return "\n".join(lines)


def _kind_lines(kind: str, findings: Sequence[Finding], csv_path: Path | None, limit: int) -> Iterator[str]:
    yield f"{KINDS[kind].severity.upper()} {kind} ({counted(len(findings), 'time')}): {KINDS[kind].meaning}"
    shown = findings[:limit]
    width = max(len(str(finding.file)) for finding in shown)
    for finding in shown:
        yield f"  {str(finding.file).ljust(width)}  {finding.detail}"
    if len(findings) > limit:
        where = f"; all are in {csv_path}" if csv_path else ""
        yield f"  ... and {len(findings) - limit} more{where}"
    yield f"  To do: {KINDS[kind].remedy}"

"""One section as the templates need it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from unet_exp.reporting import text
from unet_exp.reporting.cases import Case, read_cases
from unet_exp.reporting.comparison import Entry, Pair, Standing
from unet_exp.reporting.cross_validation import cross_validation_scheme
from unet_exp.reporting.datasets import Facts, class_facts, cross_validation_facts, preprocessing_facts, split_facts
from unet_exp.reporting.illustrations import SCORE_NAMES, illustrate
from unet_exp.reporting.measures import (
    Confusion,
    calibration_error,
    confusion,
    counted_by_class,
    threshold_rows,
)
from unet_exp.reporting.models import differing_keys, flat_config
from unet_exp.reporting.plots.canvas import DRAWN, Plot
from unet_exp.reporting.published import MEAN_SCORES, PublishedResult
from unet_exp.reporting.runs import Run, printable
from unet_exp.reporting.sections import Section
from unet_exp.reporting.settings import ReportSettings


@dataclass(frozen=True)
class SectionView:
    """What one section shows.

    Args:
        id: Of its heading on the page.
        section: The comparison itself.
        score: Name of what the models are compared by.
        lead: Which model leads, in two sentences; empty if nothing was compared.
        answers: One sentence per pair that matters.
        warnings: What limits trust in it.
        plots: Figures by topic.
        confusions: Confusion matrix by model.
        calibration: Model, ECE and Brier score.
        thresholds: Confidence thresholds of the best model, empty for more than one class.
        absent: Images without a class, by model and class, where the evaluation recorded them.
        missed: Images in which a class was missed altogether, likewise.
        cases: Pictures by model.
        differences: Configuration keys that differ, with the value of each drawn model.
        split: Facts about the split.
        preprocessing: Facts about the preprocessing of the best model.
        classes: Name, colour, codes and whether it is scored, of every class.
        conventions: How the scores were computed.
        published: What others have published on this dataset.
    """

    id: str
    section: Section
    score: str
    lead: str
    answers: Sequence[str]
    warnings: Sequence[str]
    plots: Mapping[str, Sequence[Plot]]
    confusions: Mapping[str, Confusion]
    calibration: Sequence[tuple[str, float, float]]
    thresholds: Sequence[Mapping[str, float]]
    absent: Mapping[str, Mapping[str, float]]
    missed: Mapping[str, Mapping[str, float]]
    cases: Mapping[str, Sequence[Case]]
    differences: Sequence[tuple[str, Sequence[str]]]
    split: Facts
    preprocessing: Facts
    classes: Sequence[tuple[str, str, str, bool]]
    conventions: Facts
    published: Sequence[PublishedResult]

    @property
    def standings(self) -> Sequence[Standing]:
        """Lines of the leaderboard."""
        return self.section.result.standings

    @property
    def pairs(self) -> Sequence[Pair]:
        """Pairs that were compared."""
        return self.section.result.pairs

    @property
    def drawn(self) -> Sequence[Entry]:
        """The models that figures and side-by-side tables show."""
        return self.section.entries[:DRAWN]

    @property
    def part_name(self) -> str:
        """The part that the models are compared on, in words."""
        return "held-out" if self.section.place.folds else text.PART_NAMES[self.section.part]

    @property
    def class_names(self) -> Sequence[str]:
        """Scored classes."""
        return self.section.place.classes

    def seed_of(self, name: str) -> int | None:
        """Seed of the run whose pictures are shown of a model, None if it has no other."""
        seeds = next(entry.model.seeds for entry in self.section.entries if entry.name == name)
        return seeds[0] if len(seeds) > 1 else None

    @property
    def repeats(self) -> str:
        """How often each model was trained, in words: `5 folds × 3 seeds`."""
        return " or ".join(dict.fromkeys(entry.repeats for entry in self.section.entries))

    @property
    def run_count(self) -> int:
        """Runs of all models."""
        return sum(len(entry.model.runs) for entry in self.section.entries)

    @property
    def scheme(self) -> str:
        """How the data was divided."""
        run = self.section.entries[0].model.runs[0]
        words = cross_validation_scheme(run) if self.section.place.folds else run.split.get("scheme", "unknown")
        return printable(str(words))

    @property
    def official(self) -> bool:
        """Whether the scores are of the part that others publish on."""
        return self.section.part == "test" and self.scheme.startswith("official")

    @property
    def published_scores(self) -> Sequence[str]:
        """Names of the scores over all classes that any published result has."""
        return [name for name in MEAN_SCORES if any(name in row.scores for row in self.published)]


def make_views(
    sections: Sequence[Section], settings: ReportSettings, published: Mapping[str, Sequence[PublishedResult]]
) -> list[SectionView]:
    """Everything the templates need.

    Args:
        sections: The comparisons.
        settings: What was asked for.
        published: Results of others by dataset.
    """
    views: list[SectionView] = []
    for number, section in enumerate(sections, 1):
        budget = settings.case_runs - sum(len(view.cases) for view in views)
        views.append(_make_view(section, settings, published, f"s{number}", budget))
    return views


def _make_view(
    section: Section,
    settings: ReportSettings,
    published: Mapping[str, Sequence[PublishedResult]],
    identifier: str,
    case_budget: int,
) -> SectionView:
    entries = section.entries
    drawn, best = entries[:DRAWN], entries[0]
    score = SCORE_NAMES[settings.score]
    configs = [flat_config(entry.model.runs[0]) for entry in drawn]
    keys = differing_keys(configs)
    own = not section.place.label
    return SectionView(
        id=identifier,
        section=section,
        score=score,
        lead=text.lead(section.result.standings, section.result.pairs, score) if section.result.pairs else "",
        answers=[text.answer(pair, score) for pair in section.result.pairs],
        warnings=_warnings(section),
        plots=illustrate(section, settings, identifier),
        confusions={e.name: found for e in drawn if (found := confusion(e))},
        calibration=[(e.name, calibration_error(e, "ece"), calibration_error(e, "brier")) for e in drawn],
        thresholds=threshold_rows(best),
        absent={e.name: count for e in drawn if (count := counted_by_class(e, "absent"))},
        missed={e.name: count for e in drawn if (count := counted_by_class(e, "missed"))},
        cases=_cases(entries, case_budget, settings.picture_side),
        differences=[(key, [config.get(key, text.NOTHING) for config in configs]) for key in keys],
        split=[*_division(section)(best.model.runs[0]), *_scored_facts(section)],
        preprocessing=preprocessing_facts(best.model.runs[0]),
        classes=class_facts(best.model.runs[0].config),
        conventions=_conventions(best),
        published=published.get(section.place.dataset, []) if own else [],
    )


def _division(section: Section) -> Callable[[Run], Facts]:
    return cross_validation_facts if section.place.folds else split_facts


def _cases(entries: Sequence[Entry], budget: int, side: int) -> dict[str, Sequence[Case]]:
    """Pictures of the first seed of each model, the best models first."""
    found: dict[str, Sequence[Case]] = {}
    for entry in entries:
        if len(found) >= budget:
            break
        cases = read_cases(entry.evaluations[0], side=side)
        if cases:
            found[entry.name] = cases
    return found


def _scored_facts(section: Section) -> Facts:
    """How many images the scores are of, and what was resampled as a whole."""
    evaluation = section.entries[0].evaluations[0]
    if evaluation.counts is None:
        return []
    part = (
        "in all, each by the network that had not seen it"
        if section.place.folds
        else f"of the {text.PART_NAMES[section.part]} part"
    )
    clusters = len(set(evaluation.counts.clusters.tolist()))
    whole = "every image by itself" if evaluation.cluster == "image" else f"all images of a {evaluation.cluster}"
    return [
        ("images scored", f"{len(evaluation.counts.ids):,} {part}"),
        ("unit of the intervals", f"{whole}; there are {clusters:,}"),
    ]


def _conventions(entry: Entry) -> Facts:
    known = entry.evaluations[0].context.get("conventions")
    items = known.items() if isinstance(known, Mapping) else []
    return [
        (str(key).replace("_", " "), ", ".join(map(str, value)) if isinstance(value, list) else str(value))
        for key, value in items
    ]


def _warnings(section: Section) -> list[str]:
    """What a reader must know before believing the answers."""
    result = section.result
    found = [f"{s.entry.name} is not compared: {s.remark}." for s in result.standings if s.remark]
    found += section.notes
    if section.other_splits:
        found.append(
            f"Other runs were trained on other splits of this dataset ({', '.join(section.other_splits)}). They are in "
            "sections of their own and are not compared with these."
        )
    kept = {run.config.get("scored_checkpoint", "best") for entry in section.entries for run in entry.model.runs}
    if section.part == "val" and not section.place.label and "best" in kept:
        found.append(
            "These images also chose the epoch that was kept of every run, so all scores are a little too good. A "
            "final result needs images that nothing was chosen on, such as a test part."
        )
    for entry in section.entries:
        trained_on = max(evaluation.trained_on for evaluation in entry.evaluations)
        if trained_on:
            found.append(f"{entry.name} was trained on {trained_on} of these images: its scores flatter.")
    if any(pair.verdict.single_seed for pair in result.pairs):
        found.append(
            "At least one model has a single seed. A difference then is one between two trained networks; whether the "
            "models differ takes several seeds of each."
        )
    if result.chosen_by_score:
        found.append(
            f"All models are compared with {result.reference}, because it leads on this very data, which favours it. "
            "Name a baseline before the experiment: baseline=<model>."
        )
    intervals = [s.interval for s in result.standings if s.interval] + [p.comparison.interval for p in result.pairs]
    notes = dict.fromkeys(warning for interval in intervals for warning in interval.warnings)
    if any(note.startswith("one cluster") for note in notes):  # with no interval, nothing else limits it
        notes = {note: None for note in notes if note.startswith("one cluster")}
    return [*found, *(f"Intervals: {note}." for note in notes if "single seed" not in note)]

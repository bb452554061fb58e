"""Pixel counts of every case of one run: all that the statistics need.

A score is a ratio of counts, so resampling cases means adding stored numbers up again. Nothing is predicted a
second time, and ten thousand resamples take seconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from unet_exp.errors import DataError

Counts = NDArray[np.int64]
Cluster = Literal["image", "patient", "institution"]


@dataclass(frozen=True, eq=False)
class CaseCounts:
    """Counts of N cases and K classes, kept in the order of the ids, so that no result depends on the input's order.

    Args:
        ids: Name of each case, (N,) str, each once.
        clusters: What each case belongs to, (N,) str; cases of one cluster are not independent.
        true_positives: Pixels of a class that were predicted as it, (N, K).
        false_positives: Pixels of other classes that were predicted as it, (N, K).
        false_negatives: Pixels of a class that were predicted as another, (N, K).
        correct: Pixels predicted right, of any class, (N,).
        labelled: Pixels with a label, (N,).
        class_names: The K names.
        scored: Ids of the classes that count in means.

    Raises:
        DataError: If there is no case, an id comes twice, or counts contradict each other; names the case.
    """

    ids: NDArray[np.str_]
    clusters: NDArray[np.str_]
    true_positives: Counts
    false_positives: Counts
    false_negatives: Counts
    correct: Counts
    labelled: Counts
    class_names: tuple[str, ...]
    scored: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_shapes(self)
        order = np.argsort(self.ids, kind="stable")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, field.name, value[order])
        _check_values(self)

    @property
    def truth(self) -> Counts:
        """Pixels of each class in the annotation, (N, K)."""
        return self.true_positives + self.false_negatives

    @property
    def prediction(self) -> Counts:
        """Pixels of each class in the prediction, (N, K)."""
        return self.true_positives + self.false_positives

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[Mapping[str, object]],
        class_names: Sequence[str],
        scored: Sequence[int],
        *,
        cluster: Cluster = "patient",
    ) -> Self:
        """Read the rows of one part of a per_image.csv.

        A class without columns is left out if it is not scored (a background); right pixels are then taken from
        the column `accuracy`, which times the labelled pixels is a whole number again.

        Args:
            rows: With the columns `image`, `patient`, `institution`, `labelled_pixels`, and `tp_<class>`,
                `fp_<class>`, `fn_<class>` of each scored class; numbers or their text.
            class_names: Names of the classes, in the order of their ids.
            scored: Ids of the classes that count.
            cluster: The column that names the cluster. Where it is empty, the image is its own cluster.

        Raises:
            DataError: If a column is missing, a number is none, or the rows are of several parts.
        """
        table = list(rows)
        kept = [name for i, name in enumerate(class_names) if i in scored or (table and f"tp_{name}" in table[0])]
        _require_columns(table, kept, cluster, with_accuracy=len(kept) < len(class_names))
        size = (len(table), len(kept))
        counts = {
            kind: np.array([_integer(row, f"{kind}_{name}") for row in table for name in kept], np.int64).reshape(size)
            for kind in ("tp", "fp", "fn")
        }
        labelled = np.array([_integer(row, "labelled_pixels") for row in table], np.int64)
        complete = len(kept) == len(class_names)
        correct = counts["tp"].sum(1) if complete else np.array([_correct_pixels(row) for row in table], np.int64)
        return cls(
            ids=np.array([str(row["image"]) for row in table]),
            clusters=np.array([str(row[cluster]) or str(row["image"]) for row in table]),
            true_positives=counts["tp"],
            false_positives=counts["fp"],
            false_negatives=counts["fn"],
            correct=correct,
            labelled=labelled,
            class_names=tuple(kept),
            scored=tuple(kept.index(class_names[i]) for i in scored),
        )

    @classmethod
    def from_confusion_matrices(
        cls,
        matrices: Counts,
        ids: Sequence[str],
        *,
        class_names: Sequence[str],
        scored: Sequence[int],
        clusters: Sequence[str] | None = None,
    ) -> Self:
        """Count from one confusion matrix per case.

        Args:
            matrices: (N, K, K), rows = truth, columns = prediction.
            ids: N names.
            class_names: The K names.
            scored: Ids of the classes that count.
            clusters: N names of clusters; without them every case is its own.
        """
        hits = np.diagonal(matrices, axis1=1, axis2=2)
        return cls(
            ids=np.array(ids),
            clusters=np.array(ids if clusters is None else clusters),
            true_positives=hits.copy(),
            false_positives=matrices.sum(1) - hits,
            false_negatives=matrices.sum(2) - hits,
            correct=hits.sum(1),
            labelled=matrices.sum((1, 2)),
            class_names=tuple(class_names),
            scored=tuple(scored),
        )


def require_same_cases(runs: Sequence[CaseCounts]) -> None:
    """Make sure that runs were scored on the same images with the same annotation.

    Raises:
        DataError: If they were not; names what differs.
    """
    if not runs:
        raise DataError("There is no run to compare.")
    first = runs[0]
    for other in runs[1:]:
        if (first.class_names, first.scored) != (other.class_names, other.scored):
            raise DataError(
                f"The runs score different classes ({_scored_names(first)} and {_scored_names(other)}): "
                "they cannot be compared."
            )
        unshared = np.setxor1d(first.ids, other.ids)
        if len(unshared):
            raise DataError(
                f"The runs were scored on different images ({len(first.ids)} and {len(other.ids)}; only one of them "
                f"has {_listed(unshared)}). Score them on the same part of the same data."
            )
        for what, differs in (
            ("another annotation", (first.truth != other.truth).any(1) | (first.labelled != other.labelled)),
            ("another cluster", first.clusters != other.clusters),
        ):
            if differs.any():
                raise DataError(
                    f"{_listed(first.ids[differs])}: {what} in one run than in another. Score them on the same data at "
                    "the same resolution, with the same classes."
                )


def _check_shapes(counts: CaseCounts) -> None:
    cases, classes = len(counts.ids), len(counts.class_names)
    if not cases:
        raise DataError("There is no case to compute statistics from.")
    if not counts.scored or not set(counts.scored) <= set(range(classes)):
        raise DataError(f"The scored classes {list(counts.scored)} are not among the {classes} classes.")
    for name in ("true_positives", "false_positives", "false_negatives"):
        shape = getattr(counts, name).shape
        if shape != (cases, classes):
            raise DataError(f"{name}: expected {cases} cases and {classes} classes, got the shape {shape}.")
    for name in ("clusters", "correct", "labelled"):
        shape = getattr(counts, name).shape
        if shape != (cases,):
            raise DataError(f"{name}: expected {cases} cases, got the shape {shape}.")


def _check_values(counts: CaseCounts) -> None:
    twice = counts.ids[1:][counts.ids[1:] == counts.ids[:-1]]
    if len(twice):
        raise DataError(f"{_listed(twice)}: counted twice. Each image must have one row.")
    hits, errors = counts.true_positives, (counts.false_positives, counts.false_negatives)
    wrong = (hits < 0).any(1) | (hits.sum(1) > counts.correct) | (counts.correct > counts.labelled)
    for error in errors:
        wrong |= (error < 0).any(1) | (hits.sum(1) + error.sum(1) > counts.labelled)
    if wrong.any():
        raise DataError(
            f"{_listed(counts.ids[wrong])}: the counts contradict each other (negative, or more pixels than are "
            "labelled). Evaluate the run again."
        )


def _require_columns(
    rows: Sequence[Mapping[str, object]], class_names: Sequence[str], cluster: Cluster, *, with_accuracy: bool
) -> None:
    needed = ["image", cluster, "labelled_pixels", *(["accuracy"] if with_accuracy else [])]
    needed += [f"{kind}_{name}" for name in class_names for kind in ("tp", "fp", "fn")]
    missing = sorted({name for row in rows for name in needed if name not in row})
    if missing:
        raise DataError(
            f"per_image.csv lacks the columns {', '.join(missing)}. It was written by an older version, or for other "
            "classes; evaluate the run again."
        )
    parts = sorted({str(row["part"]) for row in rows if "part" in row})
    if len(parts) > 1:
        raise DataError(f"per_image.csv: the rows are of several parts ({', '.join(parts)}). Choose one of them.")


def _integer(row: Mapping[str, object], column: str) -> int:
    text = str(row[column])
    try:
        return int(text)
    except ValueError:
        raise DataError(
            f"per_image.csv: {column} of {row['image']} must be a whole number, got {text!r}. Evaluate the run again."
        ) from None


def _correct_pixels(row: Mapping[str, object]) -> int:
    labelled = _integer(row, "labelled_pixels")
    if labelled == 0:
        return 0  # without a labelled pixel there is no accuracy; the cell is empty
    try:
        return round(float(str(row["accuracy"])) * labelled)
    except ValueError:
        raise DataError(
            f"per_image.csv: accuracy of {row['image']} must be a number, got {row['accuracy']!r}. "
            "Evaluate the run again."
        ) from None


def _listed(names: NDArray[np.str_]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3].tolist()) + more


def _scored_names(counts: CaseCounts) -> str:
    return ", ".join(counts.class_names[i] for i in counts.scored)

import csv
import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tests.statistics.simulated import counts_of, random_matrices
from unet_exp.errors import DataError
from unet_exp.statistics.counts import CaseCounts, require_same_cases

HEADER = "part,image,patient,institution,labelled_pixels,accuracy,tp_lesion,fp_lesion,fn_lesion"
TABLE = f"""{HEADER}
test,b,p1,,100,0.93,20,3,4
test,a,p1,X,10,0.3,1,5,2
"""


def rows(text=TABLE):
    return list(csv.DictReader(io.StringIO(text)))


def lesions(text=TABLE, **options):
    return CaseCounts.from_rows(rows(text), ["background", "lesion"], [1], **options)


def test_a_confusion_matrix_by_hand():
    counts = counts_of([[[5, 1, 0], [2, 7, 3], [0, 4, 6]]])
    assert counts.true_positives.tolist() == [[5, 7, 6]]
    assert counts.false_positives.tolist() == [[2, 5, 3]]
    assert counts.false_negatives.tolist() == [[1, 5, 4]]
    assert counts.correct.tolist() == [18]
    assert counts.labelled.tolist() == [28]


class TestRows:
    def test_text_is_read_and_sorted_by_image(self):
        counts = lesions()
        assert counts.ids.tolist() == ["a", "b"]
        assert counts.true_positives.tolist() == [[1], [20]]
        assert counts.false_positives.tolist() == [[5], [3]]
        assert counts.false_negatives.tolist() == [[2], [4]]
        assert (counts.class_names, counts.scored) == (("lesion",), (0,))

    def test_right_pixels_come_from_the_accuracy_if_the_background_has_no_columns(self):
        assert lesions().correct.tolist() == [3, 93]

    def test_the_way_through_a_csv_keeps_every_count(self):
        matrices = random_matrices(40, 3)
        expected = counts_of(matrices, scored=[1, 2])
        table = [
            {"image": expected.ids[i], "patient": expected.ids[i], "labelled_pixels": expected.labelled[i]}
            | {"accuracy": expected.correct[i] / expected.labelled[i] if expected.labelled[i] else ""}
            | {f"tp_class{k}": expected.true_positives[i, k] for k in (1, 2)}
            | {f"fp_class{k}": expected.false_positives[i, k] for k in (1, 2)}
            | {f"fn_class{k}": expected.false_negatives[i, k] for k in (1, 2)}
            for i in range(40)
        ]
        table = [{key: str(value) for key, value in row.items()} for row in table]
        counts = CaseCounts.from_rows(table, expected.class_names, [1, 2])
        assert np.array_equal(counts.true_positives, expected.true_positives[:, 1:])
        assert np.array_equal(counts.correct, expected.correct)

    def test_clusters(self):
        assert lesions().clusters.tolist() == ["p1", "p1"]
        assert lesions(cluster="institution").clusters.tolist() == ["X", "b"]  # unknown: the image itself
        assert lesions(cluster="image").clusters.tolist() == ["a", "b"]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (TABLE.replace("fp_lesion", "fp"), "lacks the columns fp_lesion"),
            (TABLE.replace("accuracy", "acc"), "lacks the columns accuracy"),
            (TABLE.replace("test,a", "val,a"), "several parts (test, val)"),
            (TABLE.replace(",20,", ",2x,"), "tp_lesion of b must be a whole number, got '2x'"),
            (TABLE.replace(",0.93,", ",,"), "accuracy of b must be a number"),
            (TABLE.replace(",a,", ",b,"), "b: counted twice"),
            (TABLE.replace(",100,", ",22,"), "b: the counts contradict each other"),
            (TABLE.replace(",20,", ",-20,"), "b: the counts contradict each other"),
            (HEADER, "no case"),
        ],
    )
    def test_a_fault_is_named(self, text, words):
        with pytest.raises(DataError) as error:
            lesions(text)
        assert words in str(error.value)


class TestSameCases:
    def test_equal_runs_pass_in_any_order(self):
        matrices = random_matrices(6, 2)
        ids = list("abcdef")
        require_same_cases([counts_of(matrices, ids=ids), counts_of(matrices[::-1], ids=ids[::-1])])

    def test_different_predictions_pass(self):
        require_same_cases([counts_of([[[5, 5], [1, 9]]]), counts_of([[[8, 2], [3, 7]]])])

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"ids": np.array(["image0000", "image0001", "other"])}, "image0002, other"),
            ({"clusters": np.array(["image0000", "z", "image0002"])}, "image0001: another cluster"),
            ({"scored": (1,)}, r"different classes \(class0, class1 and class1\)"),
            ({"class_names": ("class0", "dcis")}, "class0, class1 and class0, dcis"),
        ],
    )
    def test_what_differs_is_named(self, change, words):
        counts = counts_of(random_matrices(3, 2, absent=0))
        with pytest.raises(DataError, match=words):
            require_same_cases([counts, replace(counts, **change)])

    def test_another_annotation_is_named(self):
        with pytest.raises(DataError, match="image0000: another annotation"):
            require_same_cases([counts_of([[[5, 5], [1, 9]]]), counts_of([[[5, 4], [2, 9]]])])

    def test_nothing_to_compare(self):
        with pytest.raises(DataError, match="no run"):
            require_same_cases([])


def test_shapes_are_checked():
    counts = counts_of(random_matrices(3, 2))
    with pytest.raises(DataError, match=r"correct: expected 3 cases, got the shape \(2,\)"):
        replace(counts, correct=np.array([1, 2]))
    with pytest.raises(DataError, match=r"false_positives: expected 3 cases and 2 classes"):
        replace(counts, false_positives=np.zeros((3, 3), np.int64))
    with pytest.raises(DataError, match=r"scored classes \[2\]"):
        replace(counts, scored=(2,))


def test_more_right_than_labelled_pixels_are_refused():
    counts = counts_of(random_matrices(3, 2, absent=0))
    with pytest.raises(DataError, match="image0000, image0001, image0002: the counts contradict"):
        replace(counts, correct=counts.labelled + 1)


def test_statistics_do_not_import_torch():
    code = (
        "import sys; from unet_exp.statistics import paired, ranking; "
        "sys.exit(bool({'torch', 'lightning', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

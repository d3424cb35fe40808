import numpy as np
import pytest

from tasnif_train import metrics
from tasnif_train.data import STANCES


def test_f1_of_nothing_is_zero() -> None:
    assert metrics.f1(0, 0, 0) == 0.0
    assert metrics.f1(2, 1, 1) == pytest.approx(2 / 3)


def test_average_precision_follows_the_ranks() -> None:
    truth = np.array([True, False, True])
    assert metrics.average_precision(truth, np.array([0.9, 0.8, 0.7])) == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(metrics.average_precision(np.zeros(2, bool), np.zeros(2)))


def test_ece_is_the_gap_of_confidence_and_truth() -> None:
    assert metrics.ece(np.full(10, 0.8), np.array([True] * 8 + [False] * 2)) == pytest.approx(0.0)
    assert metrics.ece(np.ones(4), np.array([True, True, False, False])) == pytest.approx(0.5)


def test_macro_f1_leaves_labels_without_positives_out() -> None:
    truth = np.array([[True, False], [True, False]])
    report = metrics.topic_metrics(truth, truth * 0.9, truth, ["a", "b"])
    assert report["macro_f1"] == 1.0
    assert report["micro_f1"] == 1.0
    assert report["labels"]["b"]["positives"] == 0


def test_a_pair_called_unrelated_counts_against_its_stance() -> None:
    truth = np.array([0, 1, 2, 3])
    scores = np.eye(4)[[0, 1, 3, 3]]
    report = metrics.stance_metrics(truth, scores, STANCES)
    assert report["macro_f1_3"] == pytest.approx(2 / 3)
    assert report["f1"]["unrelated"] == pytest.approx(2 / 3)
    assert report["confusion"][2] == [0, 0, 0, 1]


def test_precision_over_recall_begins_at_the_first_positive() -> None:
    truth = np.array([False, True, True, False])
    assert metrics.precision_recall(truth, np.array([0.9, 0.8, 0.7, 0.1])) == [(0.5, 0.5), (1.0, 2 / 3)]
    assert len(metrics.precision_recall(np.ones(500, bool), np.linspace(1, 0, 500), points=50)) == 50
    assert metrics.precision_recall(np.zeros(2, bool), np.zeros(2)) == []


def test_confusion_of_topics_counts_what_stands_in_anothers_place() -> None:
    truth = np.array([[True, False, False], [True, True, False], [False, True, False]])
    assigned = np.array([[False, True, True], [True, True, True], [False, True, False]])
    # The third label is wrong beside two that are right in the second row: it took nobody's place there.
    assert metrics.topic_confusion(truth, assigned).tolist() == [[1, 1, 1], [0, 2, 0], [0, 0, 0]]

import numpy as np
import pytest

from tasnif_train import fitting
from tasnif_train.calibration import softmax
from tasnif_train.fitting import Decision, Windows

RNG = np.random.default_rng(3)


def test_windows_pool_as_the_service_does() -> None:
    windows = Windows(np.array([[-2.0, 0.0], [4.0, 1.0], [1.0, 3.0]]), np.array([100, 100, 200]))
    assert fitting.pool(windows, multi=True).tolist() == [4.0, 3.0]
    assert fitting.pool(windows, multi=False).tolist() == [1.0, 1.75]


@pytest.mark.parametrize("true_scale", [0.3, 3.0])
def test_one_temperature_is_found_again(true_scale: float) -> None:
    logits = RNG.normal(size=(2000, 4)) * 2
    truth = np.array([RNG.choice(4, p=p) for p in softmax(logits * true_scale)])
    assert fitting.fit_scale(logits, truth) == pytest.approx(true_scale, rel=0.15)


def test_a_few_right_answers_don_t_make_a_model_certain() -> None:
    logits = np.eye(3)[[0, 1, 2]] * 2.0
    assert fitting.fit_scale(logits, np.array([0, 1, 2])) < 2.0
    assert fitting.fit_scale(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)) == pytest.approx(1.0, abs=0.05)


def test_one_label_is_assigned_or_those_above_their_thresholds() -> None:
    logits = np.array([[1.0, 0.5, -3.0]])
    single, multi = Decision.plain(3, multi=False), Decision.plain(3, multi=True)
    assert single.scores(logits).sum() == pytest.approx(1.0)
    assert single.assigned(single.scores(logits)).tolist() == [[True, False, False]]
    assert multi.assigned(multi.scores(logits)).tolist() == [[True, True, False]]


@pytest.mark.parametrize("multi", [False, True])
def test_figures_come_from_the_other_part(multi: bool) -> None:
    truth = np.eye(3, dtype=bool)[np.arange(60) % 3]
    logits = np.where(truth, 3.0, -3.0) + RNG.normal(size=truth.shape)
    report = fitting.measure(logits, truth, ["a", "b", "c"], multi, np.arange(60) // 3 % 2)
    assert report["micro_f1"] > 0.9
    assert report["ece"] < 0.15
    assert ("commonest" in report) is not multi
    # A part whose answers are all wrong can't be saved by a fit on itself.
    wrong = fitting.measure(-logits, truth, ["a", "b", "c"], multi, np.arange(60) // 3 % 2)
    assert wrong["micro_f1"] < 0.6

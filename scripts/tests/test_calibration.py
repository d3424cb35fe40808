import numpy as np
import pytest

from tasnif_train import calibration as c
from tasnif_train import metrics


def simulated(n: int, scale: float, bias: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1.0, 2.0, n)
    return logits, rng.random(n) < c.sigmoid(scale * logits + bias)


def test_platt_finds_the_scale_of_a_well_fed_label() -> None:
    logits, truth = simulated(4000, 0.5, 0.3)
    fitted = c.fit_topics(logits[:, None], truth[:, None])
    assert fitted.scale[0] == pytest.approx(0.5, abs=0.06)
    assert fitted.bias[0] == pytest.approx(0.3, abs=0.12)
    before, after = c.sigmoid(logits), fitted.apply(logits[:, None])[:, 0]
    assert metrics.ece(after, truth) < metrics.ece(before, truth)


def test_a_label_met_twice_stays_near_the_common_fit() -> None:
    logits, truth = simulated(400, 1.0, 0.0)
    rare_logits, rare = np.random.default_rng(4).normal(-4.0, 1.0, 400), np.zeros(400, bool)
    rare[np.argsort(rare_logits)[:2]] = True
    fitted = c.fit_topics(np.stack([logits, rare_logits], axis=1), np.stack([truth, rare], axis=1))
    assert 0.3 < fitted.scale[1] < 1.3


def test_the_best_threshold_parts_the_scores() -> None:
    scores = np.array([0.9, 0.8, 0.3, 0.1])
    assert c.best_threshold(scores, np.array([True, True, False, False]), 0.5) == pytest.approx(0.55)
    assert c.best_threshold(scores, np.zeros(4, dtype=bool), 0.4) == 0.4


def test_thresholds_of_rare_labels_are_drawn_to_the_common_one_and_bounded() -> None:
    rng = np.random.default_rng(2)
    common_truth = rng.random(1000) < 0.3
    common = np.where(common_truth, 0.5, -0.5) + rng.normal(0, 0.02, 1000)
    rare_truth = np.zeros(1000, bool)
    rare_truth[0] = True
    rare = np.full(1000, -5.0)
    rare[0] = -4.0
    logits, truth = np.stack([common, rare], axis=1), np.stack([common_truth, rare_truth], axis=1)
    # Each label's own threshold parts it without a fault: 0 and -4.5.
    thresholds = c.fit_thresholds(logits, truth, c.TopicCalibration(np.array([1.0, 2.0]), np.array([0.0, 1.0])))
    assert thresholds[0] == pytest.approx(0.5, abs=0.05)
    assert thresholds[1] == pytest.approx(0.7)
    lower = c.fit_thresholds(logits, truth, c.TopicCalibration(np.array([1.0, 0.5]), np.array([0.0, -0.5])))
    assert lower[1] == pytest.approx(0.377, abs=0.02)


def test_stance_temperature_cools_overconfidence() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 1.5, (3000, 4))
    probabilities = c.softmax(logits)
    truth = np.array([rng.choice(4, p=p) for p in probabilities])
    fitted = c.fit_stance(3.0 * logits, truth)
    assert fitted.temperature == pytest.approx(3.0, rel=0.1)
    assert max(abs(b) for b in fitted.bias) < 0.15


def test_windows_of_stance_weigh_by_tokens_and_relation() -> None:
    plain = c.StanceCalibration()
    about = np.log(np.array([0.7, 0.1, 0.1, 0.1]))
    beside = np.log(np.array([0.05, 0.03, 0.02, 0.9]))
    pooled = c.pool_stance(np.stack([about, beside]), np.array([100, 50]), plain)
    assert pooled.sum() == pytest.approx(1.0)
    assert pooled[3] == pytest.approx(0.1)
    related = 100 * np.array([0.7, 0.1, 0.1]) + 50 * np.array([0.05, 0.03, 0.02])
    assert pooled[:3] == pytest.approx(0.9 * related / related.sum())


def test_topics_take_the_largest_window() -> None:
    assert c.pool_topics(np.array([[1.0, -2.0], [0.0, 3.0]])).tolist() == [1.0, 3.0]

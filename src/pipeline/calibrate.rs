//! Logits of an article's windows to calibrated probabilities of the article.

use crate::model::{Platt, Scores, Temperature, WindowPooling};

/// The position of `unrelated` among the stance classes.
const UNRELATED: usize = 3;

/// One label's logit over all windows. `windows` gives (logit, text tokens) and has at least one.
#[must_use]
pub fn pool(pooling: WindowPooling, windows: impl Iterator<Item = (f32, usize)>) -> f32 {
    match pooling {
        WindowPooling::Max => windows.map(|(logit, _)| logit).fold(f32::NEG_INFINITY, f32::max),
        WindowPooling::Mean => {
            let (sum, weight) = windows.fold((0.0, 0.0), |(sum, weight), (logit, tokens)| {
                (sum + logit * tokens as f32, weight + tokens as f32)
            });
            sum / weight
        }
    }
}

/// The probabilities of the labels from their (calibration, logit).
#[must_use]
pub fn topics(scores: Scores, labels: &[(Platt, f32)]) -> Vec<f32> {
    let scaled = labels.iter().map(|(calibration, logit)| calibration.apply(*logit));
    match scores {
        Scores::Sigmoid => scaled.map(sigmoid).collect(),
        Scores::Softmax => softmax(scaled.collect()),
    }
}

/// Without overflow: the largest becomes exp(0).
#[must_use]
pub fn softmax(mut values: Vec<f32>) -> Vec<f32> {
    let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter_mut().for_each(|value| *value = (*value - max).exp());
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|value| *value /= sum);
    values
}

/// Without overflow on either side.
#[must_use]
pub fn sigmoid(x: f32) -> f32 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// The four stance probabilities of one window.
#[must_use]
pub fn stance(calibration: Temperature, logits: [f32; 4]) -> [f32; 4] {
    let mut scaled = [0.0; 4];
    for ((scaled, logit), bias) in scaled.iter_mut().zip(logits).zip(calibration.bias) {
        *scaled = logit / calibration.temperature + bias;
    }
    let mut scores = [0.0; 4];
    scores.copy_from_slice(&softmax(scaled.to_vec()));
    scores
}

/// The article's stance from its windows' probabilities and text tokens.
///
/// A target is unrelated to an article only if it is to every window: the minimum. The three others share the rest in
/// proportion to their sums over the windows; a window's own 1 - unrelated is its weight there, so that passages that
/// don't touch the target don't dilute those that do. One window gives its own four probabilities back.
#[must_use]
pub fn pool_stance(windows: &[([f32; 4], usize)]) -> [f32; 4] {
    let unrelated = windows
        .iter()
        .map(|(scores, _)| scores[UNRELATED])
        .fold(f32::INFINITY, f32::min);
    let mut sums = [0.0; UNRELATED];
    for (scores, tokens) in windows {
        for (sum, score) in sums.iter_mut().zip(scores) {
            *sum += score * *tokens as f32;
        }
    }
    let total: f32 = sums.iter().sum();
    // Every window wholly certain that the target is unrelated: nothing is left to share.
    let share = if total > 0.0 { (1.0 - unrelated) / total } else { 0.0 };
    let [favor, against, neutral] = sums.map(|sum| sum * share);
    [favor, against, neutral, unrelated]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: &[f32], right: &[f32]) -> bool {
        left.len() == right.len() && left.iter().zip(right).all(|(a, b)| (a - b).abs() < 1e-6)
    }

    #[test]
    fn extreme_logits_stay_probabilities() {
        for logit in [-1e30, -100.0, 0.0, 100.0, 1e30] {
            for scores in [Scores::Sigmoid, Scores::Softmax] {
                let p = topics(scores, &[(Platt::default(), logit), (Platt::default(), 0.0)]);
                assert!(p.iter().all(|p| (0.0..=1.0).contains(p)), "{logit} gave {p:?}");
            }
        }
        let scores = stance(Temperature::default(), [-1e30, 1e30, 0.0, 88.0]);
        assert!(close(&scores, &[0.0, 1.0, 0.0, 0.0]), "{scores:?}");
    }

    #[test]
    fn windows_pool_as_the_manifest_says() {
        let windows = [(-2.0, 100), (4.0, 100), (1.0, 200)];
        assert_eq!(pool(WindowPooling::Max, windows.into_iter()), 4.0);
        assert_eq!(pool(WindowPooling::Mean, windows.into_iter()), 1.0);
    }

    #[test]
    fn one_window_keeps_its_own_stance() {
        let scores = [0.2, 0.5, 0.2, 0.1];
        assert!(close(&pool_stance(&[(scores, 77)]), &scores));
    }

    #[test]
    fn windows_that_do_not_touch_the_target_do_not_dilute() {
        let silent = [0.002, 0.001, 0.007, 0.99];
        let speaking = [0.9, 0.05, 0.04, 0.01];
        let pooled = pool_stance(&[(silent, 250), (speaking, 250), (silent, 250)]);
        assert!((pooled[0] - 0.9).abs() < 0.02, "{pooled:?}");
        assert!((pooled.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(close(&pool_stance(&[([0.0, 0.0, 0.0, 1.0], 5)]), &[0.0, 0.0, 0.0, 1.0]));
    }
}

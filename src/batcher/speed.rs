//! How fast the model is here, for what a queue is worth in time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Seconds a token takes all threads together, as a moving average. Times are averaged and not rates, whose mean lies above
/// what comes out in the end.
#[derive(Debug, Default)]
pub(super) struct Speed(AtomicU64);

impl Speed {
    /// Before anything was measured.
    const GUESS: f64 = 1e-3;

    fn get(&self) -> f64 {
        match self.0.load(Ordering::Relaxed) {
            0 => Self::GUESS,
            bits => f64::from_bits(bits),
        }
    }

    pub(super) fn record(&self, tokens: usize, time: Duration) {
        let now = time.as_secs_f64().max(1e-9) / tokens.max(1) as f64;
        // The last ten batches or so; two threads that write at once lose one of their readings, which is all right.
        let average = self.get() * 0.9 + now * 0.1;
        self.0.store(average.to_bits(), Ordering::Relaxed);
    }

    pub(super) fn time_for(&self, tokens: usize) -> Duration {
        Duration::from_secs_f64(tokens as f64 * self.get())
    }
}

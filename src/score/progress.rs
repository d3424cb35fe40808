//! How far a run is: a bar on a terminal, a line now and then elsewhere, both on standard error.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};

/// Between two lines where there is no terminal.
const EVERY: Duration = Duration::from_secs(10);
/// The rate is that of about so long.
const MEMORY: Duration = Duration::from_secs(30);

/// Counts rows, and tells.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    /// Units of the input, bytes or rows; `None` for a stream.
    total: Option<u64>,
    rows: u64,
    bad: u64,
    /// Of the input's units, those whose rows are done.
    position: f64,
    rate: Rate,
    told: Instant,
}

impl Progress {
    /// `rows` and `bad` are an earlier run's, `position` is where this one begins.
    pub(super) fn new(total: Option<u64>, rows: u64, bad: u64, position: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| match total {
            Some(total) => {
                let style = ProgressStyle::with_template("{bar:30} {percent:>3} % {msg}");
                let bar = ProgressBar::new(total);
                style.map(|style| bar.clone().with_style(style)).unwrap_or(bar)
            }
            None => ProgressBar::new_spinner(),
        });
        Self {
            bar,
            total,
            rows,
            bad,
            position: position as f64,
            rate: Rate::new(),
            told: Instant::now(),
        }
    }

    /// A row is done, and with it `units` of the input.
    pub(super) fn row(&mut self, units: f64, bad: bool) {
        self.rows += 1;
        self.bad += u64::from(bad);
        self.position += units;
        self.rate.count(units);
        if let Some(bar) = &self.bar {
            bar.set_position(self.position as u64);
            bar.set_message(self.message());
        } else if self.told.elapsed() >= EVERY {
            self.told = Instant::now();
            let percent = self.total.map_or(String::new(), |total| {
                format!("{:.1} %, ", 100.0 * self.position / (total.max(1) as f64))
            });
            line(&format!("score: {percent}{}", self.message()));
        }
    }

    fn message(&self) -> String {
        let mut message = format!("{} rows, {:.1}/s", HumanCount(self.rows), self.rate.rows());
        if self.bad > 0 {
            message.push_str(&format!(", {} bad", HumanCount(self.bad)));
        }
        if let Some(total) = self.total {
            let left = (total as f64 - self.position).max(0.0) / self.rate.units();
            if let Ok(left) = Duration::try_from_secs_f64(left) {
                message.push_str(&format!(", {} left", HumanDuration(left)));
            }
        }
        message
    }

    /// Makes room for what is said next.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A line on standard error.
pub(super) fn line(text: &str) {
    // Nobody is there to be told that standard error is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Rows and units a second, the recent ones.
#[derive(Debug)]
struct Rate {
    since: Instant,
    rows: f64,
    units: f64,
}

impl Rate {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            rows: 0.0,
            units: 0.0,
        }
    }

    fn count(&mut self, units: f64) {
        self.rows += 1.0;
        self.units += units;
        // Half of what is old is forgotten at once: the rate is over one to two halves of the memory.
        if self.since.elapsed() > MEMORY {
            self.since += MEMORY / 2;
            self.rows /= 2.0;
            self.units /= 2.0;
        }
    }

    fn rows(&self) -> f64 {
        self.rows / self.since.elapsed().as_secs_f64().max(1e-3)
    }

    fn units(&self) -> f64 {
        self.units / self.since.elapsed().as_secs_f64().max(1e-3)
    }
}

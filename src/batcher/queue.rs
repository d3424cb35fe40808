//! The queue between callers and the model's threads.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};

use super::job::{Job, Unit};
use super::{Settings, lock};

/// Sequences in the order of admission. Its bound is the semaphore that admits.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    units: VecDeque<Unit>,
    tokens: usize,
    closed: bool,
}

impl Queue {
    /// Adds all of an article's sequences; `false` once the queue is closed.
    pub(super) fn push(&self, job: &Arc<Job>) -> bool {
        let mut state = lock(&self.state);
        if state.closed {
            return false;
        }
        for unit in job.units() {
            state.tokens += unit.tokens();
            state.units.push_back(unit);
        }
        drop(state);
        self.changed.notify_all();
        true
    }

    /// Takes out what has not begun of an article.
    pub(super) fn remove(&self, job: &Arc<Job>) {
        let mut state = lock(&self.state);
        let mut tokens = 0;
        state.units.retain(|unit| {
            let stays = !Arc::ptr_eq(&unit.job, job);
            tokens += if stays { unit.tokens() } else { 0 };
            stays
        });
        state.tokens = tokens;
    }

    /// What waits, which then waits no more.
    pub(super) fn clear(&self) -> Vec<Unit> {
        let mut state = lock(&self.state);
        state.tokens = 0;
        state.units.drain(..).collect()
    }

    /// Sequences that wait.
    pub(super) fn len(&self) -> usize {
        lock(&self.state).units.len()
    }

    /// No more articles; the threads end when the queue is empty.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }

    /// The next batch, waiting for one if need be; `None` when the queue is closed and empty.
    pub(super) fn next_batch(&self, settings: &Settings) -> Option<Vec<Unit>> {
        let mut state = lock(&self.state);
        loop {
            let batch = state.take(settings);
            if !batch.is_empty() {
                return Some(batch);
            }
            if state.closed {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}

impl State {
    /// As many sequences of one model as are this thread's fair share of what waits, within the budget; at least one.
    ///
    /// The share is what keeps a single long article from being encoded by one thread while the others sleep: two windows
    /// for two threads are one each.
    fn take(&mut self, settings: &Settings) -> Vec<Unit> {
        let share = self.tokens.div_ceil(settings.threads).min(settings.batch_tokens);
        let mut batch: Vec<Unit> = Vec::new();
        let mut tokens = 0;
        while let Some(unit) = self.units.front() {
            let more = unit.tokens();
            let other_model = batch
                .first()
                .is_some_and(|first| !Arc::ptr_eq(&first.job.pipeline, &unit.job.pipeline));
            let fits = tokens < share && tokens + more <= settings.batch_tokens;
            if !batch.is_empty() && (other_model || !fits) {
                break;
            }
            let Some(unit) = self.units.pop_front() else { break };
            self.tokens -= more;
            if !unit.job.is_abandoned() {
                tokens += more;
                batch.push(unit);
            }
        }
        batch
    }
}

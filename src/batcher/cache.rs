//! Readings of sequences that were encoded before: wire copy is republished everywhere, and a window whose tokens were read
//! need not be read again.
//!
//! What is kept are raw logits by sequence, so thresholds, `top_k` and restrictions to topics are each request's own, and evidence is
//! placed in the request's own text. A key is the SHA-256 of all that a reading depends on, and the load of the model:
//! no two texts can be made to share one, and a model that takes another's place finds nothing of it.

use std::sync::{Mutex, MutexGuard};

use lru::LruCache;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::lock;
use crate::pipeline::{Pipeline, Reading, Sequence};

/// The SHA-256 of a sequence and its model.
type Key = [u8; 32];

/// Readings within a bound of memory; those that were asked for last stay.
#[derive(Debug)]
pub(super) struct Cache {
    most_bytes: usize,
    state: Mutex<State>,
    hits: Counter,
    misses: Counter,
}

#[derive(Debug)]
struct State {
    readings: LruCache<Key, Reading>,
    bytes: usize,
}

impl Cache {
    /// For so many bytes of readings; 0 keeps nothing.
    pub(super) fn new(most_bytes: usize) -> Self {
        let state = State {
            readings: LruCache::unbounded(),
            bytes: 0,
        };
        Self {
            most_bytes,
            state: Mutex::new(state),
            hits: Counter::default(),
            misses: Counter::default(),
        }
    }

    // Held for as long as a copy of some hundred bytes takes, where encoding a window takes tens of milliseconds.
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The readings that are known of these sequences.
    pub(super) fn get(&self, pipeline: &Pipeline, sequences: &[Sequence]) -> Vec<Option<Reading>> {
        if self.most_bytes == 0 {
            return vec![None; sequences.len()];
        }
        let found = sequences.iter().map(|sequence| {
            let key = pipeline.key(sequence);
            let found = self.state().readings.get(&key).cloned();
            let counter = if found.is_some() { &self.hits } else { &self.misses };
            counter.inc();
            found
        });
        found.collect()
    }

    /// Keeps what was read.
    pub(super) fn insert(&self, pipeline: &Pipeline, sequence: &Sequence, reading: &Reading) {
        if self.most_bytes == 0 {
            return;
        }
        let key = pipeline.key(sequence);
        let mut state = self.state();
        state.bytes += bytes(reading);
        if let Some(before) = state.readings.put(key, reading.clone()) {
            state.bytes -= bytes(&before);
        }
        while state.bytes > self.most_bytes {
            let Some((_, oldest)) = state.readings.pop_lru() else {
                break;
            };
            state.bytes -= bytes(&oldest);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        let mut state = self.state();
        state.readings.clear();
        state.bytes = 0;
    }

    /// What its readings take.
    pub(super) fn bytes(&self) -> usize {
        self.state().bytes
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "cache_hits",
            "Sequences whose reading was known from an earlier article",
            self.hits.clone(),
        );
        registry.register(
            "cache_misses",
            "Sequences that were looked up in vain, and encoded",
            self.misses.clone(),
        );
    }
}

/// Of a reading with its key and its place: the list's node (two pointers, the key), and the table's slot (two pointers and a
/// byte, of which up to a half are free).
fn bytes(reading: &Reading) -> usize {
    const PLACE: usize = size_of::<Key>() + 2 * size_of::<usize>() + 2 * (2 * size_of::<usize>() + 1);
    reading.bytes() + PLACE
}

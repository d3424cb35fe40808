//! Readings of sequences that were encoded before: wire copy is republished everywhere, and a window whose tokens were read
//! need not be read again.
//!
//! What is kept are raw logits by sequence, so thresholds, `top_k` and restrictions to topics are each request's own, and evidence is
//! placed in the request's own text. A key is the SHA-256 of all that a reading depends on, and the load of the model:
//! no two texts can be made to share one, and a model that takes another's place finds nothing of it.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use quick_cache::Weighter;
use quick_cache::sync::Cache as Entries;

use crate::pipeline::{Pipeline, Reading, Sequence};

/// The SHA-256 of a sequence and its model.
type Key = [u8; 32];

/// Readings within a bound of memory; those asked for again stay the longest.
#[derive(Debug)]
pub(super) struct Cache {
    /// None if nothing is to be kept.
    entries: Option<Entries<Key, Reading, Bytes>>,
    hits: Counter,
    misses: Counter,
}

impl Cache {
    /// For so many bytes of readings; 0 keeps nothing.
    pub(super) fn new(bytes: usize) -> Self {
        // Readings of 24 topics and a target take about 400 bytes; the number only sizes the first tables.
        let entries = (bytes > 0).then(|| Entries::with_weighter(bytes / 400, bytes as u64, Bytes));
        Self {
            entries,
            hits: Counter::default(),
            misses: Counter::default(),
        }
    }

    /// The readings that are known of these sequences.
    pub(super) fn get(&self, pipeline: &Pipeline, sequences: &[Sequence]) -> Vec<Option<Reading>> {
        let Some(entries) = &self.entries else {
            return vec![None; sequences.len()];
        };
        sequences
            .iter()
            .map(|sequence| {
                let found = entries.get(&pipeline.key(sequence));
                let counter = if found.is_some() { &self.hits } else { &self.misses };
                counter.inc();
                found
            })
            .collect()
    }

    /// Keeps what was read.
    pub(super) fn insert(&self, pipeline: &Pipeline, sequence: &Sequence, reading: &Reading) {
        if let Some(entries) = &self.entries {
            entries.insert(pipeline.key(sequence), reading.clone());
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        if let Some(entries) = &self.entries {
            entries.clear();
        }
    }

    /// What its readings take.
    pub(super) fn bytes(&self) -> usize {
        let bytes = self.entries.as_ref().map_or(0, Entries::weight);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "cache_hits",
            "Sequences whose reading was known from an earlier article",
            self.hits.clone(),
        );
        registry.register("cache_misses", "Sequences that had to be encoded", self.misses.clone());
    }
}

/// Weighs a reading with its key and its place in the tables.
#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<Key, Reading> for Bytes {
    fn weight(&self, key: &Key, reading: &Reading) -> u64 {
        // A slot of the table and of its queues: 24 and 8 bytes, at a load of a half or more.
        const PLACE: usize = 64;
        (size_of_val(key) + reading.bytes() + PLACE) as u64
    }
}

//! Readings of sequences that were encoded before: wire copy is republished everywhere, and a window whose tokens were read
//! need not be read again.
//!
//! What is kept are raw logits by sequence, so thresholds, `top_k` and restrictions to topics are each request's own, and evidence is
//! placed in the request's own text. A key is the SHA-256 of all that a reading depends on, and the load of the model:
//! no two texts can be made to share one, and a model that takes another's place finds nothing of it.
//!
//! Readings lie one behind the other in chunks; the oldest chunk goes as a whole, and what is asked for moves from the older half
//! to the newest. As allocations of their own, a reading's 330 bytes cost 1.2 kB: they pin holes between what requests leave
//! behind, and under a bound of 32 MB the heap grew by 113.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::lock;
use crate::pipeline::{Pipeline, Reading, Sequence};

/// The SHA-256 of a sequence and its model.
type Key = [u8; 32];

/// Above the size from which glibc maps a block of its own (128 KiB), which goes back to the system when it is freed.
const CHUNK_BYTES: usize = 1 << 18;
/// At least so many chunks, so that little is forgotten at a time.
const CHUNKS: usize = 8;

/// Readings within a bound of memory; those that were asked for last stay.
#[derive(Debug)]
pub(super) struct Cache {
    most_bytes: usize,
    state: Mutex<State>,
    hits: Counter,
    misses: Counter,
}

#[derive(Debug, Default)]
struct State {
    places: HashMap<Key, Place>,
    /// The oldest first.
    chunks: VecDeque<Chunk>,
    /// The number of the oldest.
    oldest: u64,
}

/// Where a reading lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    chunk: u64,
    start: u32,
    length: u32,
}

#[derive(Debug, Default)]
struct Chunk {
    words: Vec<u32>,
    keys: Vec<Key>,
}

impl Chunk {
    fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u32>() + self.keys.capacity() * size_of::<Key>()
    }
}

impl Cache {
    /// For so many bytes of readings; 0 keeps nothing.
    pub(super) fn new(most_bytes: usize) -> Self {
        Self {
            most_bytes,
            state: Mutex::default(),
            hits: Counter::default(),
            misses: Counter::default(),
        }
    }

    // Held for as long as a copy of some hundred bytes takes, where encoding a window takes milliseconds.
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
            let mut state = self.state();
            let found = state.get(&key, self.chunk_bytes(0));
            // What moves to the newest chunk needs room as what is new does.
            state.keep_within(self.most_bytes);
            drop(state);
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
        let mut words = Vec::new();
        reading.pack(&mut words);
        let chunk_bytes = self.chunk_bytes(words.len() * size_of::<u32>());
        let mut state = self.state();
        state.put(key, &words, chunk_bytes);
        state.keep_within(self.most_bytes);
    }

    /// Of a new chunk that has to take a reading of `bytes`.
    fn chunk_bytes(&self, bytes: usize) -> usize {
        CHUNK_BYTES.min(self.most_bytes / CHUNKS).max(bytes)
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        *self.state() = State::default();
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.state().bytes()
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

impl State {
    fn bytes(&self) -> usize {
        // The standard table has a byte of control for each slot, and room for 8 where 7 are used.
        let places = self.places.capacity() * (size_of::<(Key, Place)>() + 1) * 8 / 7;
        places + self.chunks.iter().map(Chunk::bytes).sum::<usize>()
    }

    fn get(&mut self, key: &Key, chunk_bytes: usize) -> Option<Reading> {
        let place = *self.places.get(key)?;
        let words = self.words(place)?;
        let reading = Reading::unpack(words);
        if place.chunk - self.oldest < self.chunks.len() as u64 / 2 {
            let words = words.to_vec();
            self.put(*key, &words, chunk_bytes);
        }
        reading
    }

    fn words(&self, place: Place) -> Option<&[u32]> {
        let chunk = self.chunks.get((place.chunk - self.oldest) as usize)?;
        chunk.words.get(place.start as usize..)?.get(..place.length as usize)
    }

    /// Appends a reading. Where the same key had one before, that one stays behind until its chunk goes.
    fn put(&mut self, key: Key, words: &[u32], chunk_bytes: usize) {
        let has_room = |chunk: &Chunk| chunk.words.len() + words.len() <= chunk.words.capacity();
        if !self.chunks.back().is_some_and(has_room) {
            self.chunks.push_back(Chunk {
                words: Vec::with_capacity((chunk_bytes / size_of::<u32>()).max(words.len())),
                keys: Vec::new(),
            });
        }
        let newest = self.oldest + self.chunks.len() as u64 - 1;
        if let Some(chunk) = self.chunks.back_mut() {
            let place = Place {
                chunk: newest,
                start: chunk.words.len() as u32,
                length: words.len() as u32,
            };
            chunk.words.extend_from_slice(words);
            chunk.keys.push(key);
            self.places.insert(key, place);
        }
    }

    fn keep_within(&mut self, most_bytes: usize) {
        while self.bytes() > most_bytes && !self.chunks.is_empty() {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(chunk) = self.chunks.pop_front() else {
            return;
        };
        for key in chunk.keys {
            // Unless it has moved on.
            if self.places.get(&key).is_some_and(|place| place.chunk == self.oldest) {
                self.places.remove(&key);
            }
        }
        self.oldest += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(number: u16) -> Reading {
        Reading {
            topics: None,
            stance: vec![[f32::from(number); 4]; 5],
            state: None,
            inference: None,
        }
    }

    fn key(number: u16) -> Key {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&number.to_le_bytes());
        key
    }

    fn put(state: &mut State, number: u16) {
        let mut words = Vec::new();
        reading(number).pack(&mut words);
        // Four readings of 25 words.
        state.put(key(number), &words, 400);
    }

    #[test]
    fn the_oldest_go_first_and_what_was_asked_for_stays() {
        let mut state = State::default();
        (0..16).for_each(|number| put(&mut state, number));
        assert_eq!(state.chunks.len(), 4);
        // In the older half: it moves to a fifth chunk. 15 is new enough to stay where it is.
        for number in [1, 15] {
            assert_eq!(state.get(&key(number), 400), Some(reading(number)));
        }
        assert_eq!(state.chunks.len(), 5);
        state.forget_oldest();
        let known: Vec<u16> = (0..16)
            .filter(|number| state.places.contains_key(&key(*number)))
            .collect();
        assert_eq!(known, [vec![1], (4..16).collect()].concat());
        assert_eq!(state.get(&key(1), 400), Some(reading(1)));
        while !state.chunks.is_empty() {
            state.forget_oldest();
        }
        assert!(state.places.is_empty());
        put(&mut state, 3);
        assert_eq!(state.get(&key(3), 400), Some(reading(3)));
    }
}

//! What several models have in common is held once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Values by what they were made of, as long as somebody holds them.
#[derive(Debug)]
pub struct Shared<K, T>(Mutex<BTreeMap<K, Weak<T>>>);

impl<K: Ord, T> Shared<K, T> {
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    pub fn get(&self, key: &K) -> Option<Arc<T>> {
        self.lock().get(key)?.upgrade()
    }

    pub fn put(&self, key: K, value: &Arc<T>) {
        let mut values = self.lock();
        values.retain(|_, value| value.strong_count() > 0);
        values.insert(key, Arc::downgrade(value));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<K, Weak<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord, T> Default for Shared<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

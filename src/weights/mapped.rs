//! One memory-mapped file.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::WeightsError;

/// A file mapped read-only. Pages come in as they are touched and are shared between processes that serve the same model.
#[derive(Debug)]
pub(super) struct Mapped {
    path: PathBuf,
    map: Mmap,
}

impl Mapped {
    pub(super) fn open(path: PathBuf) -> Result<Self, WeightsError> {
        match File::open(&path).and_then(|file| map(&file)) {
            Ok(map) => Ok(Self { path, map }),
            Err(source) => Err(WeightsError::Unreadable { path, source }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The bytes of a range that was validated against the file when its header was read.
    pub(super) fn slice(&self, range: &Range<usize>) -> &[u8] {
        &self.map[range.clone()]
    }
}

#[expect(unsafe_code, reason = "mapping a file is unsafe by its nature")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read-only and lives as long as its `Mapped`. What Rust can't rule out is another process that
    // truncates or rewrites the file meanwhile; bundles are replaced as whole directories, never edited in place
    // (models/README.md says so), and that is the contract on which this rests.
    unsafe { Mmap::map(file) }
}

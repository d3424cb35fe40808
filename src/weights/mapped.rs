//! One memory-mapped file.

use std::fs::{File, Metadata};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use super::{Shared, WeightsError};

/// A file mapped read-only. Pages come in as they are touched and are shared between processes that serve the same model.
#[derive(Debug)]
pub(super) struct Mapped {
    path: PathBuf,
    map: Mmap,
}

/// Files that are mapped now. Models with the same embeddings, fine-tuned heads on one trunk say, map them once.
static MAPPED: Shared<Identity, Mapped> = Shared::new();

/// By what two files are known to hold the same.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identity {
    /// They are one file, under two names perhaps, and were not written to in between.
    File {
        device: u64,
        inode: u64,
        bytes: u64,
        written: (i64, i64),
    },
    /// The sha256 of both is this.
    Content(String),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self::File {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }

    fn content(sha256: &str) -> Self {
        Self::Content(sha256.to_ascii_lowercase())
    }
}

impl Mapped {
    /// Maps a file, or finds it mapped. `sha256` is what it is said to be; the caller checks the file itself.
    pub(super) fn open(path: PathBuf, sha256: Option<&str>) -> Result<Arc<Self>, WeightsError> {
        if let Some(known) = sha256.and_then(|sha256| MAPPED.get(&Identity::content(sha256))) {
            return Ok(known);
        }
        let mapped = File::open(&path).and_then(|file| Ok((Identity::of(&file.metadata()?), map(&file)?)));
        match mapped {
            Ok((identity, map)) => Ok(MAPPED.get(&identity).unwrap_or_else(|| {
                let mapped = Arc::new(Self { path, map });
                MAPPED.put(identity, &mapped);
                mapped
            })),
            Err(source) => Err(WeightsError::Unreadable { path, source }),
        }
    }

    /// Makes it found by the sha256 of its content, which was checked.
    pub(super) fn share(self: &Arc<Self>, sha256: &str) {
        MAPPED.put(Identity::content(sha256), self);
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

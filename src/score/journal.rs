//! How far a run has come, on disk, so that it can go on after any end.
//!
//! Rows go to `OUT.partial`, a chunk at a time. Behind each chunk the file is flushed to the disk, and then `OUT.journal` is
//! replaced by one that counts the chunk. A run that goes on cuts the file to what the journal counts and reads on behind
//! the rows that it counts, so nothing is lost, doubled or half-written. At the end `OUT.partial` becomes `OUT`; the journal
//! goes last.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What must be the same for a run to go on, by names that a person understands.
pub type Fingerprint = BTreeMap<String, String>;

/// What is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    pub rows: u64,
    /// Of the rows, those that got an error record.
    pub bad: u64,
    /// Of the partial output.
    bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Journal {
    fingerprint: Fingerprint,
    done: Done,
}

/// What to do about what an earlier run left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftovers {
    /// Nothing may be there.
    Refuse,
    /// Go on where the earlier run ended.
    Resume,
    /// Start again, and put the new output in the place of an old one at the end.
    Replace,
}

/// Why an output can't be begun or gone on with.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{0}")]
    Refused(String),
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// The three files of an output.
#[derive(Debug, Clone)]
pub struct Paths {
    pub out: PathBuf,
    pub partial: PathBuf,
    pub journal: PathBuf,
}

impl Paths {
    #[must_use]
    pub fn new(out: &Path) -> Self {
        Self {
            out: out.to_owned(),
            partial: beside(out, "partial"),
            journal: beside(out, "journal"),
        }
    }
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(extension);
    name.into()
}

/// What [`Output::open`] found.
#[derive(Debug)]
pub enum Begun {
    /// Ready for what comes behind `done`.
    Open(Output, Done),
    /// An earlier run came to its end.
    Complete(Option<Done>),
}

/// An output that grows by chunks.
#[derive(Debug)]
pub struct Output {
    paths: Paths,
    file: File,
    journal: Journal,
}

impl Output {
    /// Begins an output with `head`, or goes on with one.
    pub fn open(
        paths: Paths,
        leftovers: Leftovers,
        fingerprint: Fingerprint,
        head: &[u8],
    ) -> Result<Begun, JournalError> {
        let (out, partial) = (paths.out.exists(), paths.partial.exists());
        let journal = read_journal(&paths.journal, leftovers)?;
        match leftovers {
            Leftovers::Refuse => {
                let begun = if partial || journal.is_some() {
                    format!(
                        "an earlier run began {} and did not end; --resume goes on with it, --force starts again",
                        paths.out.display()
                    )
                } else if out {
                    format!("{} is there already; --force replaces it", paths.out.display())
                } else {
                    return Self::begin(paths, fingerprint, head);
                };
                Err(JournalError::Refused(begun))
            }
            Leftovers::Replace => Self::begin(paths, fingerprint, head),
            Leftovers::Resume => match journal {
                Some(journal) if partial => Self::go_on(paths, journal, &fingerprint),
                // It ended between the last two steps.
                Some(journal) if out => {
                    remove(&paths.journal)?;
                    Ok(Begun::Complete(Some(journal.done)))
                }
                // Without a journal no chunk was ever counted.
                None if out && !partial => Ok(Begun::Complete(None)),
                _ => Self::begin(paths, fingerprint, head),
            },
        }
    }

    fn begin(paths: Paths, fingerprint: Fingerprint, head: &[u8]) -> Result<Begun, JournalError> {
        let file = lock(&paths.partial, true)?;
        remove(&paths.journal)?;
        let mut output = Self {
            journal: Journal {
                fingerprint,
                done: Done::default(),
            },
            file,
            paths,
        };
        output.write(|file| file.set_len(0))?;
        output.append(head, 0, 0)?;
        Ok(Begun::Open(output, Done::default()))
    }

    fn go_on(paths: Paths, journal: Journal, fingerprint: &Fingerprint) -> Result<Begun, JournalError> {
        let changed = changes(&journal.fingerprint, fingerprint);
        if !changed.is_empty() {
            return Err(JournalError::Refused(format!(
                "this is not the run that began {}: {}. Run it as it began, or start again with --force",
                paths.out.display(),
                changed.join("; ")
            )));
        }
        let file = lock(&paths.partial, false)?;
        let done = journal.done;
        let mut output = Self { paths, file, journal };
        if output.file.metadata().map_or(0, |metadata| metadata.len()) < done.bytes {
            return Err(JournalError::Refused(format!(
                "{} is shorter than its journal says: somebody cut it; start again with --force",
                output.paths.partial.display()
            )));
        }
        output.write(|file| {
            file.set_len(done.bytes)?;
            file.seek(SeekFrom::Start(done.bytes)).map(drop)
        })?;
        Ok(Begun::Open(output, done))
    }

    /// Adds a chunk of `rows` rows, `bad` of them with an error. When it returns, the chunk is on the disk and counted.
    pub fn append(&mut self, chunk: &[u8], rows: u64, bad: u64) -> Result<(), JournalError> {
        self.write(|file| {
            file.write_all(chunk)?;
            file.sync_data()
        })?;
        let done = &mut self.journal.done;
        done.rows += rows;
        done.bad += bad;
        done.bytes += chunk.len() as u64;
        let path = &self.paths.journal;
        write_journal(path, &self.journal).map_err(|source| JournalError::Io {
            path: path.clone(),
            source,
        })
    }

    /// Makes the output what `assemble` makes of the partial one: `true` if it wrote a file of its own to the second path.
    pub fn finish<E>(self, assemble: impl FnOnce(&Path, &Path) -> Result<bool, E>) -> Result<(), E>
    where
        E: From<JournalError>,
    {
        let Paths { out, partial, journal } = &self.paths;
        let assembled = beside(out, "assembled");
        let finished = if assemble(partial, &assembled)? {
            &assembled
        } else {
            partial
        };
        let io = |source| JournalError::Io {
            path: out.clone(),
            source,
        };
        fs::rename(finished, out).and_then(|()| sync_folder(out)).map_err(io)?;
        remove(partial)?;
        // One that a kill kept from taking its place.
        remove(&beside(journal, "new"))?;
        remove(journal)?;
        Ok(())
    }

    fn write(&mut self, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), JournalError> {
        write(&mut self.file).map_err(|source| JournalError::Io {
            path: self.paths.partial.clone(),
            source,
        })
    }
}

/// Opens the partial output for this process alone.
fn lock(path: &Path, create: bool) -> Result<File, JournalError> {
    let file = OpenOptions::new()
        .write(true)
        .create(create)
        .truncate(false)
        .open(path)
        .map_err(|error| JournalError::Refused(format!("can't write {}: {error}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::Refused(format!(
            "another process is writing {}",
            path.display()
        ))),
        // A file system without locks; two runs at once are then the user's to avoid.
        Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// A journal that can't be read is one only for those who would go on with it.
fn read_journal(path: &Path, leftovers: Leftovers) -> Result<Option<Journal>, JournalError> {
    let refused = |error: String| {
        JournalError::Refused(format!(
            "{} can't be read ({error}); start again with --force",
            path.display()
        ))
    };
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        _ if leftovers == Leftovers::Replace => Ok(None),
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| refused(error.to_string())),
        Err(error) => Err(refused(error.to_string())),
    }
}

/// The new journal takes the old one's place whole or not at all.
fn write_journal(path: &Path, journal: &Journal) -> io::Result<()> {
    let fresh = beside(path, "new");
    let mut file = File::create(&fresh)?;
    serde_json::to_writer(&mut file, journal)?;
    file.sync_data()?;
    fs::rename(&fresh, path)?;
    sync_folder(path)
}

/// A rename is on the disk when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn remove(path: &Path) -> Result<(), JournalError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(JournalError::Io {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

fn changes(old: &Fingerprint, new: &Fingerprint) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let value = |fingerprint: &Fingerprint, name: &str| fingerprint.get(name).cloned().unwrap_or_default();
    names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| format!("{name} was {}, is {}", value(old, name), value(new, name)))
        .collect()
}

//! Files in, files out: an archive's rows through the batcher, in order, in bounded memory, and on after a crash.
//!
//! ```text
//! reader thread ──windows──> run loop ──────────────> writer thread
//! decompress, cut, parse     sort, batcher, reorder   encode, compress, flush, count
//! ```
//!
//! - `records`, `jsonl`, `csv`, `parquet_pages`, `parquet_reader`: bytes to rows; each good or with the reason why not.
//! - `run`: rows to verdicts; `progress` tells.
//! - `writer`, `flat`, `parquet_writer`: verdicts to bytes, in chunks that depend on their rows alone.
//! - `journal`, `fingerprint`: what is done, and whether a run is the same run.

pub mod csv;
mod fingerprint;
mod flat;
mod format;
mod journal;
pub mod jsonl;
mod parquet_pages;
mod parquet_reader;
mod parquet_writer;
mod progress;
mod reader;
mod records;
mod row;
mod run;
mod value;
mod writer;

use std::fs::{self, OpenOptions};
use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::article::{Article, Task};
use crate::batcher::Batcher;
use crate::encoder::Precision;
use crate::pipeline::{Pipeline, PrepareError};

use flat::Shape;
use journal::{Begun, Output, Paths};
use progress::Progress;
use reader::Opened;
use run::Engine;
use writer::Writer;

pub use format::{Compression, Format, Rows};
pub use journal::{JournalError, Leftovers};
pub use reader::ReadError;
pub use row::{Fields, Parsed, Row, RowError, Scored};
pub use value::Value;
pub use writer::WriteError;

/// What is scored, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `-` is standard input.
    pub input: PathBuf,
    /// `-` is standard output.
    pub output: PathBuf,
    /// By the file's name, if not given.
    pub input_format: Option<Format>,
    pub output_format: Option<Format>,
    pub fields: Fields,
    /// The fields that somebody named: a table without one of them is refused.
    pub named: Vec<String>,
    /// Tasks, targets, `top_k` and threshold of every article.
    pub preset: Article,
    /// What the model computes in.
    pub precision: Precision,
    pub max_row_bytes: usize,
    /// A bad row ends the run.
    pub strict: bool,
    pub leftovers: Leftovers,
}

impl Settings {
    /// Whether a run that was cut can go on: what went through a pipe is gone.
    #[must_use]
    pub fn is_resumable(&self) -> bool {
        !is_stream(&self.input) && !is_stream(&self.output)
    }
}

/// Why a run was not begun or did not end.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// Nothing was done.
    #[error("{0}")]
    Refused(String),
    #[error("can't read the input: {0}")]
    Read(#[from] ReadError),
    #[error("can't write the output: {0}")]
    Write(#[from] WriteError),
    #[error("can't write {0}")]
    Journal(JournalError),
    #[error("row {row}: {error}; --strict ends at the first bad row")]
    Strict { row: u64, error: RowError },
    #[error("can't start a thread: {0}")]
    Start(io::Error),
    #[error("a thread died; the log has its last words")]
    Died,
}

impl From<JournalError> for ScoreError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Refused(message) => Self::Refused(message),
            error @ JournalError::Io { .. } => Self::Journal(error),
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Rows of the output, an earlier run's included, and those of them with an error record.
    pub rows: u64,
    pub bad: u64,
    /// Rows a second of this run, from the loaded model to the last row on the disk.
    pub rate: f64,
    pub end: End,
}

/// How a run ended, if nothing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Complete,
    Interrupted,
    /// An earlier run did it all.
    Before,
}

/// An input that was looked at and can be read, before a model is loaded for it.
pub struct Input {
    settings: Settings,
    /// Of input and output.
    formats: [Format; 2],
    opened: Opened,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Input {
    /// Opens the input and refuses what can be refused at once.
    pub fn open(settings: Settings) -> Result<Self, ScoreError> {
        let input_format = format(&settings.input, settings.input_format, "--input-format")?;
        let output_format = format(&settings.output, settings.output_format, "--output-format")?;
        let refused = |message: String| Err(ScoreError::Refused(message));
        let input = settings.input.display();
        let (stream, to_stream) = (is_stream(&settings.input), is_stream(&settings.output));
        if (stream && input_format.rows == Rows::Parquet) || (to_stream && output_format.rows == Rows::Parquet) {
            return refused("Parquet needs a file: it can't be read from a pipe or written to one".to_owned());
        }
        if settings.leftovers == Leftovers::Resume && !settings.is_resumable() {
            return refused("--resume needs files: what went through a pipe is gone".to_owned());
        }
        if let (Ok(from), Ok(to)) = (settings.input.canonicalize(), settings.output.canonicalize())
            && from == to
            && !to_stream
        {
            return refused(format!("{input} is both input and output"));
        }
        if settings.output.is_dir() {
            return refused(format!("{} is a folder", settings.output.display()));
        }
        let Settings {
            fields,
            named,
            max_row_bytes,
            ..
        } = &settings;
        let opened =
            reader::open(&settings.input, input_format, fields.clone(), named, *max_row_bytes).map_err(|error| {
                match error {
                    ReadError::Refused(message) => ScoreError::Refused(format!("{input}: {message}")),
                    ReadError::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                        ScoreError::Refused(format!("{input}: {error}"))
                    }
                    error => ScoreError::Read(error),
                }
            })?;
        let formats = [input_format, output_format];
        Ok(Self {
            settings,
            formats,
            opened,
        })
    }

    /// Scores all rows with `pipeline`, whose files are in `model_dir`, on the batcher's `threads`. `interrupt` ends it in
    /// good order. Progress and the last word go to standard error.
    pub async fn score(
        self,
        batcher: Batcher,
        pipeline: Arc<Pipeline>,
        model_dir: &Path,
        threads: usize,
        interrupt: impl Future<Output = ()>,
    ) -> Result<Outcome, ScoreError> {
        let Self {
            settings,
            formats,
            opened,
        } = self;
        check(&pipeline, &settings.preset)?;
        let Opened {
            mut reader,
            position,
            kept,
            targets,
        } = opened;
        let writer = writer::writer(formats[1], shape(&pipeline, &settings.preset, kept, targets))?;
        let (to, rows, bad) = if is_stream(&settings.output) {
            let mut stream = open_stream(&settings.output).map_err(WriteError::from)?;
            stream.write_all(&writer.head()?).map_err(WriteError::from)?;
            (To::Stream(stream), 0, 0)
        } else {
            let fingerprint = fingerprint::of_run(&settings, formats, &pipeline, model_dir)?;
            match Output::open(
                Paths::new(&settings.output),
                settings.leftovers,
                fingerprint,
                &writer.head()?,
            )? {
                Begun::Open(output, done) => (To::File(output), done.rows, done.bad),
                Begun::Complete(done) => {
                    let done = done.unwrap_or_default();
                    return Ok(Outcome {
                        rows: done.rows,
                        bad: done.bad,
                        rate: 0.0,
                        end: End::Before,
                    });
                }
            }
        };
        if rows > 0 {
            progress::line(&format!("going on behind row {rows}"));
        }
        reader.skip(rows)?;
        let sink = Sink { writer, to, rows, bad };
        let begun = Instant::now();
        let mut progress = Progress::new(position.total, rows, bad, position.get());
        let engine = Engine {
            batcher: Arc::new(batcher),
            pipeline,
            threads,
            preset: settings.preset.clone(),
        };
        let ended = run::run(
            engine,
            reader,
            position,
            sink,
            settings.strict,
            &mut progress,
            interrupt,
        );
        let ended = ended.await;
        progress.clear();
        let (end, sink) = ended?;
        let outcome = Outcome {
            rows: sink.rows,
            bad: sink.bad,
            rate: (sink.rows - rows) as f64 / begun.elapsed().as_secs_f64(),
            end,
        };
        if end == End::Complete {
            sink.finish()?;
        }
        Ok(outcome)
    }
}

/// Where chunks go.
struct Sink {
    writer: Box<dyn Writer>,
    to: To,
    rows: u64,
    bad: u64,
}

enum To {
    File(Output),
    Stream(Box<dyn Write + Send>),
}

impl Sink {
    fn append(&mut self, rows: &[Scored]) -> Result<(), ScoreError> {
        let chunk = self.writer.chunk(rows)?;
        let count = rows.len() as u64;
        let bad = rows.iter().filter(|row| row.verdict.is_err()).count() as u64;
        match &mut self.to {
            To::File(output) => output.append(&chunk, count, bad)?,
            To::Stream(stream) => stream
                .write_all(&chunk)
                .and_then(|()| stream.flush())
                .map_err(WriteError::from)?,
        }
        self.rows += count;
        self.bad += bad;
        Ok(())
    }

    fn finish(self) -> Result<(), ScoreError> {
        match self.to {
            To::File(output) => output.finish(|from, to| Ok(self.writer.assemble(from, to)?)),
            To::Stream(_) => Ok(()),
        }
    }
}

/// The format that a flag names, or else the file's name.
fn format(path: &Path, named: Option<Format>, flag: &str) -> Result<Format, ScoreError> {
    named.or_else(|| Format::of_path(path)).ok_or_else(|| {
        ScoreError::Refused(format!(
            "{} doesn't tell its format; say {flag} {}",
            path.display(),
            Format::NAMES
        ))
    })
}

/// Whether it is a pipe or a device rather than a file, or a file to be.
fn is_stream(path: &Path) -> bool {
    path == Path::new("-") || fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

fn open_stream(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    Ok(Box::new(OpenOptions::new().write(true).open(path)?))
}

/// Refuses what every article would be refused for, such as a task that the model has not.
fn check(pipeline: &Pipeline, preset: &Article) -> Result<(), ScoreError> {
    let article = Article {
        text: "text".to_owned(),
        ..preset.clone()
    };
    match pipeline.prepare(&article) {
        Err(PrepareError::Input(error)) if error.param() != "text" => Err(ScoreError::Refused(error.to_string())),
        _ => Ok(()),
    }
}

fn shape(pipeline: &Pipeline, preset: &Article, kept: Vec<reader::Kept>, targets: bool) -> Shape {
    let asks = |task| preset.tasks.as_ref().is_none_or(|tasks| tasks.contains(&task));
    let manifest = pipeline.manifest();
    let topics = manifest.topics.as_ref().filter(|_| asks(Task::Topics));
    let stance = manifest.stance.is_some() && asks(Task::Stance);
    Shape {
        topics: topics.map(|topics| topics.labels.iter().map(|label| label.id.clone()).collect()),
        targets: if stance { preset.targets.len().max(1) } else { 0 },
        own_targets: stance && targets,
        kept,
    }
}

#[cfg(test)]
mod tests {
    use super::Fields;

    /// The contract's names.
    pub(super) fn fields() -> Fields {
        Fields {
            text: "text".to_owned(),
            title: "title".to_owned(),
            id: "id".to_owned(),
            language: "language".to_owned(),
            targets: Some("targets".to_owned()),
            keep: Vec::new(),
        }
    }
}

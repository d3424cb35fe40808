//! The run: rows in windows from the reader's thread, sorted by length through the batcher, and back in order to the
//! writer's thread.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::thread;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::progress::Progress;
use super::reader::{Position, ReadError, Reader};
use super::row::{Row, RowError, Scored};
use super::{End, ScoreError, Sink};
use crate::article::{Article, Verdict};
use crate::batcher::{Admission, Batcher, ClassifyError};
use crate::pipeline::Pipeline;

/// A window is what is sorted, written and counted together, and lost when the process dies. 128 rows are five seconds of
/// articles, or one of posts, on two cores, and 4 MB of verdicts at 24 topics; the bytes bound it where the rows are large.
const WINDOW_ROWS: usize = 128;
const WINDOW_BYTES: usize = 4 << 20;
/// Bytes of text with the batcher for each of its threads: four or more batches of 1,024 tokens, of four to eight bytes each. More
/// would only be memory.
const AHEAD: usize = 32 << 10;
/// What a row counts at least, so that short ones don't become tasks by the thousands.
const ROW_COST: usize = 128;

/// What classifies.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    pub batcher: Arc<Batcher>,
    pub pipeline: Arc<Pipeline>,
    pub threads: usize,
    /// What is asked of every article.
    pub preset: Article,
}

impl Engine {
    async fn classify(&self, mut article: Article) -> Result<Verdict, ClassifyError> {
        if !self.preset.targets.is_empty() {
            article.targets.clone_from(&self.preset.targets);
        }
        article.tasks.clone_from(&self.preset.tasks);
        article.top_k = self.preset.top_k;
        article.threshold = self.preset.threshold;
        self.batcher
            .classify(Arc::clone(&self.pipeline), article, Admission::Wait)
            .await
    }
}

/// Rows on their way.
struct Window {
    rows: Vec<Row>,
    /// Units of the input that it took.
    units: u64,
}

/// A window that is being classified.
struct Open {
    scored: Vec<Scored>,
    /// Rows to be classified yet, the longest last.
    waiting: Vec<Waiting>,
    /// Rows without an answer.
    missing: usize,
    units_of_row: f64,
}

struct Waiting {
    index: usize,
    cost: usize,
    article: Article,
}

/// An answer, the window and the row that it is for, and what the row cost.
type Answer = (u64, usize, usize, Result<Verdict, ClassifyError>);

/// Reads, classifies and writes until the end, the first failure, or `interrupt`.
pub(super) async fn run(
    engine: Engine,
    reader: Box<dyn Reader>,
    position: Position,
    sink: Sink,
    strict: bool,
    progress: &mut Progress,
    interrupt: impl Future<Output = ()>,
) -> Result<(End, Sink), ScoreError> {
    let (to_run, windows) = mpsc::channel(1);
    let (to_writer, scored) = mpsc::channel(1);
    spawn("read", move || read(reader, &position, &to_run))?;
    let writer = spawn("write", move || write(sink, scored))?;
    let ended = classify(engine, windows, to_writer, strict, progress, interrupt).await;
    // With its sender gone the writer ends, by now or by its own failure, which explains a failure to send.
    let written = tokio::task::spawn_blocking(|| writer.join()).await;
    let sink = written.map_err(|_| ScoreError::Died)?.map_err(|_| ScoreError::Died)??;
    Ok((ended?, sink))
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<thread::JoinHandle<T>, ScoreError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(ScoreError::Start)
}

/// The life of the reader's thread. The windows' bounds depend on the rows alone.
fn read(mut reader: Box<dyn Reader>, position: &Position, windows: &mpsc::Sender<Result<Option<Window>, ReadError>>) {
    loop {
        let (mut rows, mut bytes, begin) = (Vec::new(), 0, position.get());
        let end = loop {
            if rows.len() == WINDOW_ROWS || bytes >= WINDOW_BYTES {
                break Ok(false);
            }
            match reader.read() {
                Ok(Some(row)) => {
                    bytes += row.parsed.article.as_ref().map_or(0, |article| article.text.len());
                    rows.push(row);
                }
                Ok(None) => break Ok(true),
                Err(error) => break Err(error),
            }
        };
        // A window that a failure cut is not written: its bounds would depend on the failure.
        if end.is_ok() && !rows.is_empty() {
            let units = position.get() - begin;
            if windows.blocking_send(Ok(Some(Window { rows, units }))).is_err() {
                return;
            }
        }
        let last = match end {
            Ok(false) => continue,
            Ok(true) => Ok(None),
            Err(error) => Err(error),
        };
        let _ = windows.blocking_send(last);
        return;
    }
}

/// The life of the writer's thread.
fn write(mut sink: Sink, mut windows: mpsc::Receiver<Vec<Scored>>) -> Result<Sink, ScoreError> {
    while let Some(rows) = windows.blocking_recv() {
        sink.append(&rows)?;
    }
    Ok(sink)
}

async fn classify(
    engine: Engine,
    mut windows: mpsc::Receiver<Result<Option<Window>, ReadError>>,
    writer: mpsc::Sender<Vec<Scored>>,
    strict: bool,
    progress: &mut Progress,
    interrupt: impl Future<Output = ()>,
) -> Result<End, ScoreError> {
    let mut interrupt = pin!(interrupt);
    let budget = AHEAD * engine.threads;
    // Read and not yet written: one whose last rows are encoded, one ahead, and what fills the queue, of short rows too.
    let windows_open = 2 + engine.threads.div_ceil(2);
    let mut tasks: JoinSet<Answer> = JoinSet::new();
    let (mut open, mut first): (VecDeque<Open>, u64) = (VecDeque::new(), 0);
    let (mut ahead, mut reading) = (0, true);
    let mut failed = None;
    loop {
        // The first windows first; one article is always under way, however large.
        for (number, window) in (first..).zip(&mut open) {
            while ahead < budget
                && let Some(Waiting { index, cost, article }) = window.waiting.pop()
            {
                ahead += cost;
                let engine = engine.clone();
                tasks.spawn(async move { (number, index, cost, engine.classify(article).await) });
            }
        }
        while open.front().is_some_and(|window| window.missing == 0) {
            let Some(window) = open.pop_front() else { break };
            first += 1;
            if strict && let Some(error) = first_bad(&window.scored) {
                return Err(error);
            }
            if writer.send(window.scored).await.is_err() {
                // The writer tells why when it is joined.
                return Err(ScoreError::Died);
            }
        }
        if open.is_empty() && !reading {
            return failed.map_or(Ok(End::Complete), Err);
        }
        tokio::select! {
            biased;
            () = &mut interrupt => return Ok(End::Interrupted),
            Some(answer) = tasks.join_next() => {
                let (number, index, cost, answer) = answer.map_err(|_| ScoreError::Died)?;
                ahead -= cost;
                let window = usize::try_from(number - first).ok().and_then(|at| open.get_mut(at));
                let Some(window) = window else { continue };
                if let Some(row) = window.scored.get_mut(index) {
                    progress.row(window.units_of_row, answer.is_err());
                    row.verdict = answer.map_err(RowError::from);
                    window.missing -= 1;
                }
            }
            window = windows.recv(), if reading && open.len() < windows_open => match window {
                Some(Ok(Some(window))) => open.push_back(begin(window, progress)),
                end => {
                    reading = false;
                    failed = match end {
                        Some(Ok(_)) => None,
                        Some(Err(error)) => Some(ScoreError::Read(error)),
                        None => Some(ScoreError::Died),
                    };
                }
            },
        }
    }
}

/// Sorts a window: neighbours in the queue share batches, and batches of like lengths take like times on all threads.
fn begin(window: Window, progress: &mut Progress) -> Open {
    let units_of_row = window.units as f64 / window.rows.len() as f64;
    let (mut scored, mut waiting) = (Vec::with_capacity(window.rows.len()), Vec::new());
    for (index, row) in window.rows.into_iter().enumerate() {
        let verdict = match row.parsed.article {
            Ok(article) => {
                waiting.push(Waiting {
                    index,
                    cost: article.text.len().max(ROW_COST),
                    article,
                });
                // Until the answer is there.
                Err(RowError::Internal("it has no answer".to_owned()))
            }
            Err(error) => {
                progress.row(units_of_row, true);
                Err(error)
            }
        };
        scored.push(Scored {
            number: row.number,
            id: row.parsed.id,
            kept: row.parsed.kept,
            verdict,
        });
    }
    waiting.sort_by_key(|row| row.cost);
    Open {
        scored,
        missing: waiting.len(),
        waiting,
        units_of_row,
    }
}

fn first_bad(rows: &[Scored]) -> Option<ScoreError> {
    rows.iter().find_map(|row| {
        let error = row.verdict.as_ref().err()?;
        Some(ScoreError::Strict {
            row: row.number,
            error: error.clone(),
        })
    })
}

//! One article between admission and answer.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{ClassifyError, lock};
use crate::article::Verdict;
use crate::pipeline::{Pipeline, Prepared, Reading, Sequence};

type Reply = oneshot::Sender<Result<Verdict, ClassifyError>>;

/// An admitted article. Its place in the queue is given back when it is answered or dropped.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) queued: Instant,
    prepared: Prepared,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    readings: Vec<Option<Reading>>,
    /// Taken when the answer is given.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    reply: Reply,
    /// The article's place in the queue.
    room: OwnedSemaphorePermit,
}

impl Open {
    /// Makes room first: a caller who has the answer may send the next article at once.
    fn answer(self, answer: Result<Verdict, ClassifyError>) {
        drop(self.room);
        // The receiver may be gone: a client that left.
        let _ = self.reply.send(answer);
    }
}

/// One of an article's sequences.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) job: Arc<Job>,
    pub(super) index: usize,
    /// Whether it is the first that had to be queued.
    pub(super) first: bool,
}

impl Unit {
    pub(super) fn sequence(&self) -> &Sequence {
        &self.job.prepared.sequences[self.index]
    }

    pub(super) fn tokens(&self) -> usize {
        self.sequence().rows()
    }
}

impl Job {
    /// `readings` has those that are known already.
    pub(super) fn new(
        pipeline: Arc<Pipeline>,
        prepared: Prepared,
        readings: Vec<Option<Reading>>,
        reply: Reply,
        room: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            pipeline,
            queued: Instant::now(),
            prepared,
            progress: Mutex::new(Progress {
                readings,
                open: Some(Open { reply, room }),
            }),
        }
    }

    /// The sequences that have no reading yet, in order.
    pub(super) fn units(self: &Arc<Self>) -> Vec<Unit> {
        let progress = lock(&self.progress);
        let readings = progress.readings.iter().enumerate();
        let unknown = readings.filter(|(_, reading)| reading.is_none());
        unknown
            .enumerate()
            .map(|(place, (index, _))| Unit {
                job: Arc::clone(self),
                index,
                first: place == 0,
            })
            .collect()
    }

    /// Whether nobody waits for the answer any more: the client left, or the article failed already.
    pub(super) fn is_abandoned(&self) -> bool {
        lock(&self.progress).open.is_none()
    }

    /// Takes one sequence's reading; the last one makes the verdict.
    pub(super) fn finish(&self, index: usize, reading: Reading) {
        let mut progress = lock(&self.progress);
        if let Some(place) = progress.readings.get_mut(index) {
            *place = Some(reading);
        }
        if progress.readings.iter().any(Option::is_none) {
            return;
        }
        let readings: Vec<Reading> = progress.readings.drain(..).flatten().collect();
        let Some(open) = progress.open.take() else {
            return;
        };
        drop(progress);
        open.answer(Ok(self.pipeline.conclude(&self.prepared, &readings)));
    }

    /// Gives its room back unanswered; whether it had any.
    pub(super) fn give_up(&self) -> bool {
        lock(&self.progress).open.take().is_some()
    }

    pub(super) fn fail(&self, message: &str) {
        let open = lock(&self.progress).open.take();
        if let Some(open) = open {
            open.answer(Err(ClassifyError::Failed(message.to_owned())));
        }
    }
}

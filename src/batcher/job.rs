//! One article between admission and answer.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Answered, ClassifyError, Times, lock};
use crate::pipeline::{Pipeline, Prepared, Reading, Sequence};

type Reply = oneshot::Sender<Result<Answered, ClassifyError>>;

/// An admitted article. Its place in the queue is given back when it is answered or dropped.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) pipeline: Arc<Pipeline>,
    queued: Instant,
    /// How long it took to prepare.
    tokenization: Duration,
    prepared: Prepared,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    readings: Vec<Option<Reading>>,
    /// When its first batch began.
    begun: Option<Instant>,
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
    fn answer(self, answer: Result<Answered, ClassifyError>) {
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
        (prepared, tokenization): (Prepared, Duration),
        readings: Vec<Option<Reading>>,
        reply: Reply,
        room: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            pipeline,
            queued: Instant::now(),
            tokenization,
            prepared,
            progress: Mutex::new(Progress {
                readings,
                begun: None,
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
            .map(|(index, _)| Unit {
                job: Arc::clone(self),
                index,
            })
            .collect()
    }

    /// Whether nobody waits for the answer any more: the client left, or the article failed already.
    pub(super) fn is_abandoned(&self) -> bool {
        lock(&self.progress).open.is_none()
    }

    /// One of its sequences is in a batch now; how long it was in the queue, if it is the first.
    pub(super) fn begin(&self, now: Instant) -> Option<Duration> {
        let mut progress = lock(&self.progress);
        if progress.begun.is_some() {
            return None;
        }
        progress.begun = Some(now);
        Some(now - self.queued)
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
        let begun = progress.begun.unwrap_or(self.queued);
        drop(progress);
        let verdict = self.pipeline.conclude(&self.prepared, &readings);
        let times = Times {
            tokenization: self.tokenization,
            queue: begun - self.queued,
            inference: begun.elapsed(),
        };
        open.answer(Ok(Answered { verdict, times }));
    }

    /// Gives its room back unanswered; whether it had any.
    pub(super) fn give_up(&self) -> bool {
        lock(&self.progress).open.take().is_some()
    }

    pub(super) fn fail(&self, error: ClassifyError) {
        let open = lock(&self.progress).open.take();
        if let Some(open) = open {
            open.answer(Err(error));
        }
    }
}

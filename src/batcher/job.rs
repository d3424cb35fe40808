//! One article between admission and answer.

use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{ClassifyError, lock};
use crate::article::Verdict;
use crate::pipeline::{Pipeline, Prepared, Reading, Sequence};

type Reply = oneshot::Sender<Result<Verdict, ClassifyError>>;

/// An admitted article. Its place in the queue is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) pipeline: Arc<Pipeline>,
    prepared: Prepared,
    progress: Mutex<Progress>,
    _room: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Progress {
    readings: Vec<Option<Reading>>,
    /// Taken when the answer is given.
    reply: Option<Reply>,
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
        self.sequence().ids.len()
    }
}

impl Job {
    pub(super) fn new(pipeline: Arc<Pipeline>, prepared: Prepared, reply: Reply, room: OwnedSemaphorePermit) -> Self {
        let readings = vec![None; prepared.sequences.len()];
        Self {
            pipeline,
            prepared,
            progress: Mutex::new(Progress {
                readings,
                reply: Some(reply),
            }),
            _room: room,
        }
    }

    /// The work that it consists of, in order.
    pub(super) fn units(self: &Arc<Self>) -> impl Iterator<Item = Unit> {
        (0..self.prepared.sequences.len()).map(|index| Unit {
            job: Arc::clone(self),
            index,
        })
    }

    /// Whether nobody waits for the answer any more: the client left, or the article failed already.
    pub(super) fn is_abandoned(&self) -> bool {
        lock(&self.progress)
            .reply
            .as_ref()
            .is_none_or(oneshot::Sender::is_closed)
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
        let Some(reply) = progress.reply.take() else {
            return;
        };
        drop(progress);
        let verdict = self.pipeline.conclude(&self.prepared, &readings);
        // The receiver may be gone: a client that left.
        let _ = reply.send(Ok(verdict));
    }

    pub(super) fn fail(&self, message: &str) {
        if let Some(reply) = lock(&self.progress).reply.take() {
            let _ = reply.send(Err(ClassifyError::Failed(message.to_owned())));
        }
    }
}

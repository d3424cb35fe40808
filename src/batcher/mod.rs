//! From prepared articles to batches on the model's threads, and back.
//!
//! The unit of work is a sequence, not an article: the windows of a long article spread over all threads, and the windows
//! of many short ones share a batch. An article's verdict doesn't depend on the company it was encoded in, since
//! sequences don't see each other in the encoder.
//!
//! The queue is bounded in tokens, which is what encoding costs. Admission is decided before an article is queued: a
//! caller is refused at once, or waits for room if it has other work in the queue already.

mod cache;
mod job;
mod metrics;
mod queue;
mod speed;
mod work;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};

use crate::article::{Article, InputError, Verdict};
use crate::model::Template;
use crate::pipeline::{Pipeline, PipelineError, PrepareError, Prepared};

use cache::Cache;
use job::Job;
use metrics::Metrics;
use queue::Queue;
use speed::Speed;

/// How much is done at once.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Threads that encode, each a batch of its own.
    pub threads: usize,
    /// The most tokens in one batch.
    pub batch_tokens: usize,
    /// The most tokens admitted and not yet answered.
    pub queue_tokens: usize,
    /// What readings of earlier sequences may take; 0 keeps none.
    pub cache_bytes: usize,
}

/// What happens to an article that finds the queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Refuse,
    Wait,
}

/// How long an article was in each stage. Together they are nearly all of its time; room in the queue may be waited for
/// before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    pub tokenization: Duration,
    pub queue: Duration,
    /// From its first batch to its verdict.
    pub inference: Duration,
}

/// A verdict, and how long it took.
#[derive(Debug)]
pub struct Answered {
    pub verdict: Verdict,
    pub times: Times,
}

/// Why an article got no verdict.
#[derive(Debug, thiserror::Error)]
pub enum ClassifyError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("the queue is full; try again in {} s", retry_after.as_secs())]
    Overloaded { retry_after: Duration },
    #[error("the service is shutting down")]
    Closed,
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    #[error("the model's thread failed on this article: {0}")]
    Failed(String),
}

impl From<PrepareError> for ClassifyError {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Input(error) => Self::Input(error),
            PrepareError::Pipeline(error) => Self::Pipeline(error),
        }
    }
}

/// The queue and the models' threads.
#[derive(Debug)]
pub struct Batcher {
    shared: Arc<Shared>,
    /// Tokenizing is for as many articles at a time as there are threads; more would only take time from the encoder.
    preparing: Semaphore,
    threads: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads and the callers both see.
#[derive(Debug)]
struct Shared {
    queue: Queue,
    room: Arc<Semaphore>,
    cache: Cache,
    settings: Settings,
    speed: Speed,
    metrics: Metrics,
}

impl Batcher {
    /// Starts the threads.
    pub fn start(settings: Settings) -> std::io::Result<Self> {
        let settings = Settings {
            threads: settings.threads.max(1),
            batch_tokens: settings.batch_tokens.max(1),
            // A semaphore of tokio's counts to usize::MAX >> 3, and takes u32 at a time.
            queue_tokens: settings.queue_tokens.clamp(1, 1 << 30),
            ..settings
        };
        let shared = Arc::new(Shared {
            queue: Queue::default(),
            room: Arc::new(Semaphore::new(settings.queue_tokens)),
            cache: Cache::new(settings.cache_bytes),
            settings,
            speed: Speed::default(),
            metrics: Metrics::default(),
        });
        let mut threads = Vec::with_capacity(settings.threads);
        for index in 0..settings.threads {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new()
                .name(format!("encode-{index}"))
                .spawn(move || shared.work())?;
            threads.push(thread);
        }
        Ok(Self {
            shared,
            preparing: Semaphore::new(settings.threads),
            threads: std::sync::Mutex::new(threads),
        })
    }

    #[must_use]
    pub fn settings(&self) -> Settings {
        self.shared.settings
    }

    /// Shows counters and histograms of what was done under `registry`.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
        self.shared.cache.register(registry);
    }

    /// What the readings that are kept take.
    #[must_use]
    pub fn cache_bytes(&self) -> usize {
        self.shared.cache.bytes()
    }

    /// Forgets the readings that are kept: those of a model that is served no longer are of no use.
    pub fn clear_cache(&self) {
        self.shared.cache.clear();
    }

    /// Sequences that wait for a batch.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.queue.len()
    }

    /// Tokens admitted and not yet answered.
    #[must_use]
    pub fn load(&self) -> usize {
        self.shared.settings.queue_tokens - self.shared.room.available_permits()
    }

    /// Whether there is any room, and little enough before it for an answer within `time`.
    pub fn admits(&self, time: Duration) -> Result<(), ClassifyError> {
        if self.shared.room.is_closed() {
            return Err(ClassifyError::Closed);
        }
        let load = self.load();
        // A quarter more than expected: what is let in is to be answered in time, and the speed is that of the last batches.
        let late = load > 0 && self.shared.speed.time_for(load).mul_f64(1.25) > time;
        if late || load == self.shared.settings.queue_tokens {
            return Err(self.overloaded());
        }
        Ok(())
    }

    fn overloaded(&self) -> ClassifyError {
        ClassifyError::Overloaded {
            // In whole seconds, as Retry-After is.
            retry_after: Duration::from_secs(self.shared.speed.time_for(self.load()).as_secs() + 1),
        }
    }

    /// The verdict of `pipeline` on one article. Dropping the future takes what has not begun out of the queue.
    pub async fn classify(
        &self,
        pipeline: Arc<Pipeline>,
        article: Article,
        admission: Admission,
    ) -> Result<Verdict, ClassifyError> {
        let answered = self.classify_timed(pipeline, article, admission).await?;
        Ok(answered.verdict)
    }

    /// The same, and how long each stage took.
    pub async fn classify_timed(
        &self,
        pipeline: Arc<Pipeline>,
        article: Article,
        admission: Admission,
    ) -> Result<Answered, ClassifyError> {
        let counted = self.shared.metrics.article(&pipeline.manifest().name);
        let outcome = self.admit_and_answer(pipeline, article, admission).await;
        counted.end(&outcome);
        outcome
    }

    async fn admit_and_answer(
        &self,
        pipeline: Arc<Pipeline>,
        article: Article,
        admission: Admission,
    ) -> Result<Answered, ClassifyError> {
        let capacity = self.shared.settings.queue_tokens;
        // Who would be refused takes room before any work, by estimate; who waits for room knows exactly how much.
        let estimate = match admission {
            Admission::Refuse => Some(self.take_room(estimated_tokens(&pipeline, &article).min(capacity))?),
            Admission::Wait => None,
        };
        let (prepared, tokenization) = self.prepare(Arc::clone(&pipeline), article).await?;
        let known = self.shared.cache.get(&pipeline, &prepared.sequences);
        if let Some(readings) = known.iter().cloned().collect::<Option<Vec<_>>>() {
            let verdict = pipeline.conclude(&prepared, &readings);
            let times = Times {
                tokenization,
                ..Times::default()
            };
            return Ok(Answered { verdict, times });
        }

        // An article larger than the whole queue takes all of it, alone.
        let unknown = prepared
            .sequences
            .iter()
            .zip(&known)
            .filter(|(_, known)| known.is_none());
        let cost = unknown
            .map(|(sequence, _)| sequence.rows())
            .sum::<usize>()
            .min(capacity);
        let permit = match estimate {
            Some(mut permit) if permit.num_permits() >= cost => {
                drop(permit.split(permit.num_permits() - cost));
                permit
            }
            Some(mut permit) => {
                // It was let in, and has been tokenized: a refusal would come late and throw work away. What the estimate
                // fell short of is taken as far as it is there.
                let short = (cost - permit.num_permits()).min(self.shared.room.available_permits());
                if let Ok(more) = self.take_room(short) {
                    permit.merge(more);
                }
                permit
            }
            None => Arc::clone(&self.shared.room)
                .acquire_many_owned(u32::try_from(cost).unwrap_or(u32::MAX))
                .await
                .map_err(|_| ClassifyError::Closed)?,
        };
        let (reply, answer) = oneshot::channel();
        let place = Place {
            queue: &self.shared.queue,
            job: Arc::new(Job::new(pipeline, (prepared, tokenization), known, reply, permit)),
        };
        if !self.shared.queue.push(&place.job) {
            return Err(ClassifyError::Closed);
        }
        // The sender is dropped unanswered only if its thread died.
        answer
            .await
            .unwrap_or_else(|_| Err(ClassifyError::Failed("it gave no answer".to_owned())))
    }

    fn take_room(&self, tokens: usize) -> Result<OwnedSemaphorePermit, ClassifyError> {
        let room = Arc::clone(&self.shared.room);
        room.try_acquire_many_owned(u32::try_from(tokens).unwrap_or(u32::MAX))
            .map_err(|error| match error {
                TryAcquireError::NoPermits => self.overloaded(),
                TryAcquireError::Closed => ClassifyError::Closed,
            })
    }

    /// Answers what was admitted, refuses the rest, and ends the threads. Blocks until that is done.
    pub fn shut_down(&self) {
        self.shared.room.close();
        self.shared.queue.close();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            // A thread's panic was reported by its own panic hook; there is nothing to add.
            let _ = thread.join();
        }
    }

    /// Refuses what waits in the queue: there is no time left for it.
    pub fn give_up(&self) {
        for unit in self.shared.queue.clear() {
            unit.job.fail(ClassifyError::Closed);
        }
    }

    /// What the encoder will read, and how long it took to make.
    async fn prepare(&self, pipeline: Arc<Pipeline>, article: Article) -> Result<(Prepared, Duration), ClassifyError> {
        let _place = self.preparing.acquire().await.map_err(|_| ClassifyError::Closed)?;
        let tokenization = self.shared.metrics.tokenization.clone();
        tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            let prepared = pipeline.prepare(&article);
            let time = begun.elapsed();
            tokenization.observe(time.as_secs_f64());
            Ok((prepared?, time))
        })
        .await
        .map_err(|error| ClassifyError::Failed(error.to_string()))?
    }
}

/// About what the encoder will read, rather more than less: a token is 4 to 6 bytes in most languages. What is too much is
/// given back once it is tokenized.
fn estimated_tokens(pipeline: &Pipeline, article: &Article) -> usize {
    let bytes = article.title.as_deref().map_or(0, str::len) + article.text.len();
    let manifest = pipeline.manifest();
    let targets = article.targets.len();
    // How often the text is read.
    let passes = match manifest.input.template {
        Template::Shared => 1,
        _ if manifest.nli.is_some() => targets + article.labels.as_ref().map_or(0, Vec::len),
        _ => targets + usize::from(targets == 0 || article.asks_topics()),
    };
    (bytes / 4 * passes).max(1)
}

/// An article's place in the queue, which is free again when its caller leaves.
struct Place<'a> {
    queue: &'a Queue,
    job: Arc<Job>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.job.give_up() {
            self.queue.remove(&self.job);
        }
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// A lock that a panicking thread held still guards data that each critical section leaves whole.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

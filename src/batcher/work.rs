//! What the model's threads do: a batch from the queue, through the encoder, to the jobs.

use std::time::Instant;

use super::job::Unit;
use super::{ClassifyError, Shared};
use crate::pipeline::Sequence;

impl Shared {
    /// The life of one of the model's threads.
    pub(super) fn work(&self) {
        // candle's products and norms run on rayon. A pool of one, this very thread, keeps them here: n batches on n
        // threads need no fork and join for each small product.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .use_current_thread()
            .build();
        if let Err(error) = &pool {
            tracing::warn!(%error, "the model's thread shares the global pool");
        }
        while let Some(batch) = self.queue.next_batch(&self.settings) {
            self.encode(&batch);
        }
    }

    fn encode(&self, batch: &[Unit]) {
        let Some(pipeline) = batch.first().map(|unit| &unit.job.pipeline) else {
            return;
        };
        let sequences: Vec<&Sequence> = batch.iter().map(Unit::sequence).collect();
        let tokens: usize = sequences.iter().map(|sequence| sequence.rows()).sum();
        let metrics = &self.metrics;
        metrics.batch_sequences.observe(sequences.len() as f64);
        metrics.batch_tokens.observe(tokens as f64);
        let begun = Instant::now();
        for waited in batch.iter().filter_map(|unit| unit.job.begin(begun)) {
            metrics.queue_wait.observe(waited.as_secs_f64());
        }
        let outcome = caught(|| pipeline.read(&sequences));
        let time = begun.elapsed();
        metrics.inference.observe(time.as_secs_f64());
        match outcome {
            Ok(Ok(readings)) => {
                self.speed
                    .record(tokens, time / u32::try_from(self.settings.threads).unwrap_or(1));
                for (unit, reading) in batch.iter().zip(readings) {
                    let finished = caught(|| {
                        self.cache.insert(pipeline, unit.sequence(), &reading);
                        unit.job.finish(unit.index, reading);
                    });
                    if finished.is_err() {
                        unit.job.fail(panicked());
                    }
                }
            }
            Ok(Err(error)) => {
                let message = error.to_string();
                let failed = || ClassifyError::Failed(message.clone());
                batch.iter().for_each(|unit| unit.job.fail(failed()));
            }
            Err(_) => batch.iter().for_each(|unit| unit.job.fail(panicked())),
        }
    }
}

fn panicked() -> ClassifyError {
    ClassifyError::Failed("it panicked; see the log".to_owned())
}

/// A panic is a bug of ours, but one article's bug must not take the thread from all others.
fn caught<T>(work: impl FnOnce() -> T) -> std::thread::Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
}

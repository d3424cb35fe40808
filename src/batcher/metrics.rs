//! What the batcher has done since it started.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Answered, ClassifyError};

/// Counters and histograms, with the names that Prometheus shows beneath the prefix of a registry.
#[derive(Debug, Clone)]
pub struct Metrics {
    articles: Family<[(&'static str, String); 2], Counter>,
    tokens: Family<[(&'static str, String); 1], Counter>,
    pub(super) queue_wait: Histogram,
    pub(super) tokenization: Histogram,
    pub(super) inference: Histogram,
    pub(super) batch_sequences: Histogram,
    pub(super) batch_tokens: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        // From half a millisecond (a headline's tokens) by steps of 2.5 to 75 s (a full queue).
        let seconds = || Histogram::new((0..14).map(|step| 0.0005 * 2.5_f64.powi(step)));
        let powers = |count| Histogram::new((0..count).map(|step| 2_f64.powi(step)));
        Self {
            articles: Family::default(),
            tokens: Family::default(),
            queue_wait: seconds(),
            tokenization: seconds(),
            inference: seconds(),
            batch_sequences: powers(9),
            batch_tokens: powers(14),
        }
    }
}

impl Metrics {
    /// Shows them under `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "articles",
            "Articles by model and outcome: answered, invalid, refused, failed, abandoned",
            self.articles.clone(),
        );
        registry.register(
            "tokens",
            "Tokens of the articles that were answered, by model",
            self.tokens.clone(),
        );
        for (name, help, histogram) in [
            (
                "queue_wait_seconds",
                "From an article's place in the queue to its first batch",
                &self.queue_wait,
            ),
            (
                "tokenization_seconds",
                "Checking, tokenizing and cutting an article",
                &self.tokenization,
            ),
            ("inference_seconds", "Encoder and heads on a batch", &self.inference),
            ("batch_sequences", "Sequences in a batch", &self.batch_sequences),
            ("batch_tokens", "Tokens in a batch", &self.batch_tokens),
        ] {
            registry.register(name, help, histogram.clone());
        }
    }

    /// Counts one article of `model` when what is returned is dropped.
    pub(super) fn article(&self, model: &str) -> Counted<'_> {
        Counted {
            metrics: self,
            model: model.to_owned(),
            outcome: "abandoned",
        }
    }
}

/// An article under way: abandoned, unless told otherwise.
pub(super) struct Counted<'a> {
    metrics: &'a Metrics,
    model: String,
    outcome: &'static str,
}

impl Counted<'_> {
    pub(super) fn end(mut self, outcome: &Result<Answered, ClassifyError>) {
        self.outcome = match outcome {
            Ok(Answered { verdict, .. }) => {
                let tokens = self.metrics.tokens.get_or_create(&[("model", self.model.clone())]);
                tokens.inc_by(verdict.usage.tokens as u64);
                "answered"
            }
            Err(ClassifyError::Input(_)) => "invalid",
            Err(ClassifyError::Overloaded { .. } | ClassifyError::Closed) => "refused",
            Err(ClassifyError::Pipeline(_) | ClassifyError::Failed(_)) => "failed",
        };
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let labels = [
            ("model", std::mem::take(&mut self.model)),
            ("outcome", self.outcome.to_owned()),
        ];
        self.metrics.articles.get_or_create(&labels).inc();
    }
}

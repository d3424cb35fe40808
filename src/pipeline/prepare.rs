//! An article checked against the model, tokenized, and cut into the sequences that answer its questions.

use std::ops::Range;

use super::document::Document;
use super::language::language;
use super::nli::Hypothesis;
use super::window::windows;
use super::{Pipeline, PipelineError};
use crate::article::{Article, InputError, Label, Language, Task};

/// An article on its way: what the encoder must read, and what the verdict will need.
#[derive(Debug)]
pub struct Prepared {
    pub id: Option<String>,
    pub language: Option<Language>,
    pub document: Document,
    /// How many windows the document makes beside an empty target.
    pub windows: usize,
    pub sequences: Vec<Sequence>,
    pub asks_topics: bool,
    pub asks_stance: bool,
    pub topics: Option<Vec<String>>,
    pub top_k: Option<usize>,
    pub threshold: Option<f32>,
    pub evidence: bool,
    /// The request's labels, which take the place of the model's topics.
    pub labels: Option<Vec<Label>>,
    /// Whether many of the labels may be true at once.
    pub multi_label: bool,
    pub(super) targets: Vec<String>,
}

/// One pass through the encoder: a window beside a target.
#[derive(Debug, Clone)]
pub struct Sequence {
    pub ids: Vec<u32>,
    /// The target's index; `None` is the empty target, beside which topics and the main subject's stance are read.
    pub target: Option<usize>,
    /// Positions of the target segment: 0 up to here, its special tokens included.
    pub target_end: usize,
    /// Positions of the text proper.
    pub text: Range<usize>,
    /// The document's tokens that these are.
    pub tokens: Range<usize>,
    pub topics: bool,
    pub stance: bool,
    pub evidence: bool,
    /// Whether the mean state of the text is kept.
    pub state: bool,
    /// The label of the request whose words these are; no window then.
    pub label: Option<usize>,
    /// What an NLI model tests the window for.
    pub hypothesis: Option<Hypothesis>,
}

impl Prepared {
    /// Without a question yet.
    pub(super) fn new(
        article: &Article,
        language: Option<Language>,
        document: Document,
        sequences: Vec<Sequence>,
    ) -> Self {
        Self {
            id: article.id.clone(),
            language,
            document,
            windows: 0,
            sequences,
            asks_topics: false,
            asks_stance: false,
            topics: article.topics.clone(),
            top_k: article.top_k,
            threshold: article.threshold,
            evidence: article.evidence,
            labels: None,
            multi_label: article.multi_label.unwrap_or(true),
            targets: Vec::new(),
        }
    }

    /// All that the encoder will read, special tokens and targets included.
    #[must_use]
    pub fn encoder_tokens(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.ids.len()).sum()
    }

    /// What the stance is asked toward: the targets in their order, or the main subject.
    pub fn targets(&self) -> impl Iterator<Item = (Option<usize>, Option<&str>)> {
        let subject = self.targets.is_empty().then_some((None, None));
        let targets = self
            .targets
            .iter()
            .enumerate()
            .map(|(index, target)| (Some(index), Some(target.as_str())));
        subject.into_iter().chain(targets)
    }
}

/// Why an article can't be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

impl Pipeline {
    /// Checks an article against this model, tokenizes it and plans its sequences.
    ///
    /// # Errors
    /// [`PrepareError::Input`] with the parameter at fault; nothing has been computed then.
    pub fn prepare(&self, article: &Article) -> Result<Prepared, PrepareError> {
        article.check()?;
        if let Some(nli) = &self.manifest().nli {
            return self.prepare_nli(nli, article);
        }
        let asks_topics = self.asks(article, Task::Topics)?;
        let asks_stance = self.asks(article, Task::Stance)?;
        self.check_topics(article)?;
        // Judged before the text, which may be long.
        let targets = if asks_stance {
            self.tokenize_targets(article)?
        } else {
            Vec::new()
        };

        let document = self.document(article)?;
        let labels = article.labels.as_deref().filter(|_| asks_topics);
        let mut sequences = match labels {
            Some(labels) => self.label_sequences(article, labels)?,
            None => Vec::new(),
        };
        let windows = self.windows(&document, 0);
        let asks_subject = asks_stance && targets.is_empty();
        if asks_topics || asks_subject {
            for window in &windows {
                sequences.push(Sequence {
                    topics: asks_topics && labels.is_none(),
                    state: labels.is_some(),
                    stance: asks_subject,
                    evidence: article.evidence,
                    ..self.sequence(&document, None, &[], window)
                });
            }
        }
        for (index, target) in targets.iter().enumerate() {
            for window in self.windows(&document, target.len()) {
                sequences.push(Sequence {
                    stance: true,
                    ..self.sequence(&document, Some(index), target, &window)
                });
            }
        }

        let language = language(article.language.as_deref(), &article.text);
        Ok(Prepared {
            windows: windows.len(),
            asks_topics,
            asks_stance,
            labels: labels.map(<[Label]>::to_vec),
            targets: if asks_stance {
                article.targets.clone()
            } else {
                Vec::new()
            },
            ..Prepared::new(article, language, document, sequences)
        })
    }

    /// Title and text, tokenized, with something in them to read.
    pub(super) fn document(&self, article: &Article) -> Result<Document, PrepareError> {
        let document = Document::new(&self.tokenizer, article.title.as_deref(), &article.text)?;
        if self.tokenizer.is_blank(&document.tokens) {
            return Err(InputError::Unreadable {
                param: "text".to_owned(),
            }
            .into());
        }
        Ok(document)
    }

    /// Whether the article asks for `task`; all that the model has, if it names none.
    fn asks(&self, article: &Article, task: Task) -> Result<bool, InputError> {
        let served = match task {
            Task::Topics => self.model.topics.is_some(),
            Task::Stance => self.model.stance.is_some(),
        };
        let Some(tasks) = &article.tasks else {
            return Ok(served);
        };
        let asked = tasks.contains(&task);
        if asked && !served {
            return Err(InputError::TaskNotServed {
                model: self.manifest().name.clone(),
                task,
            });
        }
        Ok(asked)
    }

    fn check_topics(&self, article: &Article) -> Result<(), InputError> {
        let labels = self.manifest().topics.iter().flat_map(|topics| &topics.labels);
        for (index, topic) in article.topics.iter().flatten().enumerate() {
            if !labels.clone().any(|label| label.id == *topic) {
                return Err(InputError::UnknownTopic {
                    param: format!("topics[{index}]"),
                    topic: topic.clone(),
                });
            }
        }
        Ok(())
    }

    fn tokenize_targets(&self, article: &Article) -> Result<Vec<Vec<u32>>, PrepareError> {
        let targets = article.targets.iter().enumerate();
        targets
            .map(|(index, target)| self.readable(&format!("targets[{index}]"), target))
            .collect()
    }

    /// The tokens of what stands beside a window: something in them to read, and no more than `target_tokens`.
    pub(super) fn readable(&self, param: &str, text: &str) -> Result<Vec<u32>, PrepareError> {
        let max = self.manifest().windows.target_tokens;
        let param = param.to_owned();
        let tokens = self.tokenizer.tokens(text.trim())?;
        if self.tokenizer.is_blank(&tokens) {
            return Err(InputError::Unreadable { param }.into());
        }
        if tokens.len() > max {
            return Err(InputError::TooManyTokens {
                param,
                found: tokens.len(),
                max,
            }
            .into());
        }
        Ok(tokens.ids)
    }

    pub(super) fn windows(&self, document: &Document, target_tokens: usize) -> Vec<Range<usize>> {
        let sizes = self.manifest().windows;
        let room = sizes.tokens - self.overhead() - target_tokens;
        windows(document.tokens.len(), &document.sentences, room, sizes.overlap)
    }

    fn sequence(
        &self,
        document: &Document,
        target: Option<usize>,
        target_ids: &[u32],
        window: &Range<usize>,
    ) -> Sequence {
        let text = document.tokens.ids.get(window.clone()).unwrap_or_default();
        Sequence {
            target,
            tokens: window.clone(),
            ..self.assemble(target_ids, text)
        }
    }

    /// A few words by themselves, read for their mean state.
    pub(super) fn phrase(&self, ids: &[u32]) -> Sequence {
        Sequence {
            state: true,
            ..self.assemble(&[], ids)
        }
    }

    fn assemble(&self, target_ids: &[u32], text: &[u32]) -> Sequence {
        let template = &self.template;
        let ids = [
            template.before.as_slice(),
            target_ids,
            &template.between,
            &self.prefix,
            text,
            &template.behind,
        ]
        .concat();
        let target_start = template.before.len() + target_ids.len();
        let start = target_start + template.between.len() + self.prefix.len();
        Sequence {
            ids,
            target: None,
            // The first of the tokens between closes the target.
            target_end: target_start + 1,
            text: start..start + text.len(),
            tokens: 0..0,
            topics: false,
            stance: false,
            evidence: false,
            state: false,
            label: None,
            hypothesis: None,
        }
    }
}

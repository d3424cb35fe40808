//! An article checked against the model, tokenized, and cut into the sequences that answer its questions.

use super::document::Document;
use super::language::language;
use super::sequence::{Questions, Sequence};
use super::{Pipeline, PipelineError};
use crate::article::{Article, InputError, Label, Language, Task};

/// An article on its way: what the encoder must read, and what the verdict will need.
#[derive(Debug)]
pub struct Prepared {
    pub id: Option<String>,
    pub language: Option<Language>,
    pub document: Document,
    /// How many windows the document makes beside the empty target.
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
    /// What the stance is asked toward: the targets in their order, or the main subject (`None`). Empty if it isn't asked.
    pub targets: Vec<Option<String>>,
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
        self.sequences.iter().map(Sequence::rows).sum()
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
        let targets = match (asks_stance, article.targets.is_empty()) {
            (false, _) => Vec::new(),
            (true, true) => vec![None],
            (true, false) => article.targets.iter().cloned().map(Some).collect(),
        };
        let target_ids = self.target_ids(&targets)?;

        let labels = article.labels.as_deref().filter(|_| asks_topics);
        let mut sequences = match labels {
            Some(labels) => self.label_sequences(article, labels)?,
            None => Vec::new(),
        };

        let document = self.document(article)?;
        let questions = Questions {
            topics: asks_topics && labels.is_none(),
            state: labels.is_some(),
            evidence: article.evidence,
            targets: &target_ids,
        };
        sequences.extend(self.sequences(&document, questions));
        let language = language(article.language.as_deref(), &article.text);
        Ok(Prepared {
            windows: self.windows(&document, 0).len(),
            asks_topics,
            asks_stance,
            labels: labels.map(<[Label]>::to_vec),
            targets,
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

    /// The ids of each target; the main subject has none.
    fn target_ids(&self, targets: &[Option<String>]) -> Result<Vec<Vec<u32>>, PrepareError> {
        let numbered = targets.iter().enumerate();
        numbered
            .map(|(index, target)| match target {
                None => Ok(Vec::new()),
                Some(target) => self.readable(&format!("targets[{index}]"), target),
            })
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
}

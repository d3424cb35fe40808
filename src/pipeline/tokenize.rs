//! Text to token ids, and the shape of the sequences that the tokenizer's own template makes of them.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;
use tokenizers::Encoding;

use super::PipelineError;
use crate::model::{Template, Tokenizer};

/// The tokens of a text without special tokens, and the bytes of the source that each stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    pub ids: Vec<u32>,
    /// Byte ranges of the source. Normalisation can fold several characters into one token and give neighbouring tokens
    /// the same range; ranges never run backwards.
    pub offsets: Vec<Range<usize>>,
}

/// A tokenizer for foreign text.
#[derive(Debug)]
pub struct TextTokenizer {
    tokenizer: Arc<Tokenizer>,
    /// Ids that mean something to the encoder beside text: `<s>`, `</s>`, `<pad>`, `<mask>` and the like.
    special: HashSet<u32>,
    unknown: u32,
    blank: HashSet<u32>,
}

impl TextTokenizer {
    pub fn new(tokenizer: Arc<Tokenizer>) -> Result<Self, PipelineError> {
        check_post_processor(&tokenizer)?;
        let unknown = ["<unk>", "[UNK]"]
            .iter()
            .find_map(|name| tokenizer.token_to_id(name))
            .ok_or_else(|| PipelineError::Tokenizer("it has neither <unk> nor [UNK]".to_owned()))?;
        let added = tokenizer.get_added_tokens_decoder();
        let special = added
            .iter()
            .filter(|(_, token)| token.special)
            .map(|(id, _)| *id)
            .collect();
        let mut own = Self {
            tokenizer,
            special,
            unknown,
            blank: HashSet::from([unknown]),
        };
        let blank = own.tokens(" ")?.ids;
        own.blank.extend(blank);
        Ok(own)
    }

    /// All of `text`, however long. An article that contains the characters `</s>` must not end its own sequence: the
    /// loader has the tokenizer read them as text, and where its vocabulary holds them as a piece of text too (as
    /// SentencePiece's does), that piece counts as unknown.
    pub fn tokens(&self, text: &str) -> Result<Tokens, PipelineError> {
        let encoding = self
            .tokenizer
            .encode(text, false)
            .map_err(|error| PipelineError::Tokenizer(error.to_string()))?;
        let guarded = |&id: &u32| if self.special.contains(&id) { self.unknown } else { id };
        Ok(Tokens {
            ids: encoding.get_ids().iter().map(guarded).collect(),
            offsets: encoding.get_offsets().iter().map(|&(start, end)| start..end).collect(),
        })
    }

    /// Whether there is nothing to read: white space and what the vocabulary doesn't know.
    #[must_use]
    pub fn is_blank(&self, tokens: &Tokens) -> bool {
        tokens.ids.iter().all(|id| self.blank.contains(id))
    }

    /// The special tokens around the texts of a sequence.
    pub fn template(&self, template: Template) -> Result<SequenceTemplate, PipelineError> {
        SequenceTemplate::of(&self.tokenizer, template)
    }
}

impl Tokens {
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// Refuses what the tokenizers crate would panic on: a template with a special token that the post-processor does not list, or
/// with a second text where there is one.
fn check_post_processor(tokenizer: &Tokenizer) -> Result<(), PipelineError> {
    fn check(processor: &Value) -> Result<(), String> {
        let list = |name: &str| processor[name].as_array().into_iter().flatten();
        list("processors").try_for_each(check)?;
        for name in ["single", "pair"] {
            for piece in list(name) {
                if let Some(id) = piece["SpecialToken"]["id"].as_str()
                    && processor["special_tokens"].get(id).is_none()
                {
                    return Err(format!(
                        "its post-processor's {name:?} names {id:?}, which is none of its special_tokens"
                    ));
                }
                if name == "single" && piece["Sequence"]["id"] == "B" {
                    return Err("its post-processor's \"single\" names a second text".to_owned());
                }
            }
        }
        Ok(())
    }
    let Some(processor) = tokenizer.get_post_processor() else {
        return Ok(());
    };
    serde_json::to_value(processor)
        .map_err(|error| error.to_string())
        .and_then(|processor| check(&processor))
        .map_err(PipelineError::Tokenizer)
}

/// The special tokens that the tokenizer's post-processor puts before the first text of a sequence, between it and the
/// second, and behind. For XLM-RoBERTa a pair is `<s> A </s></s> B </s>`, for BERT `[CLS] A [SEP] B [SEP]`.
///
/// A single text is taken for the second of a pair without a first: `before` is empty then, and `between` stands before it.
/// What closes it also stands around the target of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceTemplate {
    pub before: Vec<u32>,
    pub between: Vec<u32>,
    pub behind: Vec<u32>,
    /// How many of the tokens between belong to the first segment, where the tokenizer gives the segments types of their
    /// own, as BERT's does: those from there on have type 1.
    pub first_type: Option<usize>,
}

impl SequenceTemplate {
    /// Learned from the tokenizer itself: placeholders go through its post-processor.
    fn of(tokenizer: &Tokenizer, template: Template) -> Result<Self, PipelineError> {
        const FIRST: u32 = u32::MAX - 1;
        const SECOND: u32 = u32::MAX;
        let placeholder = |id| {
            Encoding::new(
                vec![id],
                vec![0],
                vec![String::new()],
                vec![None],
                vec![(0, 0)],
                vec![0],
                vec![1],
                Vec::new(),
                Default::default(),
            )
        };
        let processed = match template {
            Template::Pair => tokenizer.post_process(placeholder(FIRST), Some(placeholder(SECOND)), true),
            Template::Single | Template::Shared => tokenizer.post_process(placeholder(SECOND), None, true),
        };
        let processed = processed.map_err(|error| PipelineError::Tokenizer(error.to_string()))?;
        let ids = processed.get_ids();
        let at = |wanted| ids.iter().position(|&id| id == wanted);
        let (before, between) = match (template, at(FIRST), at(SECOND)) {
            (Template::Pair, Some(first), Some(second)) if 0 < first && first + 1 < second => {
                (0..first, first + 1..second)
            }
            (Template::Single, None, Some(second)) if 0 < second => (0..0, 0..second),
            (Template::Shared, None, Some(second)) if 0 < second && second + 1 < ids.len() => (0..0, 0..second),
            _ => {
                return Err(PipelineError::Tokenizer(format!(
                    "its post-processor has no template for {template:?} with special tokens around the texts"
                )));
            }
        };
        let types = processed
            .get_type_ids()
            .get(between.start..=between.end)
            .unwrap_or_default();
        let first_type = types.iter().position(|&kind| kind > 0);
        Ok(Self {
            first_type,
            behind: ids[between.end + 1..].to_vec(),
            before: ids[before].to_vec(),
            between: ids[between].to_vec(),
        })
    }

    /// A branch of the shared template, for XLM-RoBERTa `</s> TARGET </s>`.
    #[must_use]
    pub fn branch(&self, target: &[u32]) -> Vec<u32> {
        let separator = self.behind.last();
        separator.into_iter().chain(target).chain(separator).copied().collect()
    }

    /// How many special tokens a sequence has, branches aside.
    #[must_use]
    pub fn len(&self) -> usize {
        self.before.len() + self.between.len() + self.behind.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

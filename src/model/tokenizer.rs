//! The tokenizer of a bundle: the tokenizers crate's, but for a Unigram vocabulary of our own.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::{
    Decoder, Model, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Result, Token, TokenizerImpl,
};

use super::unigram::Unigram;

/// What reads a tokenizer.json of any kind.
pub type Tokenizer = TokenizerImpl<Vocabulary, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, Unread>;

/// The decoder, which is passed over: no text is made from tokens here, and the crate's own panics where a file breaks off
/// within it.
#[derive(Debug, Clone)]
pub struct Unread;

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl Decoder for Unread {
    fn decode_chain(&self, tokens: Vec<String>) -> Result<Vec<String>> {
        Ok(tokens)
    }
}

/// Pieces of text and their ids, and how a word is cut into them.
#[derive(Debug)]
pub enum Vocabulary {
    Unigram(Unigram),
    /// WordPiece, BPE, whole words, and a Unigram file that doesn't begin with its type, as old ones don't.
    Stock(Box<ModelWrapper>),
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(VocabularyVisitor)
    }
}

struct VocabularyVisitor;

impl<'de> Visitor<'de> for VocabularyVisitor {
    type Value = Vocabulary;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a tokenizer's model")
    }

    /// The type, which comes first, decides. What is not ours to read is gathered as the crate would gather it.
    fn visit_map<A: MapAccess<'de>>(self, mut model: A) -> std::result::Result<Vocabulary, A::Error> {
        let mut entries = serde_json::Map::new();
        while let Some((key, value)) = model.next_entry::<String, Value>()? {
            if entries.is_empty() && key == "type" && value == "Unigram" {
                return Unigram::deserialize(MapAccessDeserializer::new(model)).map(Vocabulary::Unigram);
            }
            entries.insert(key, value);
        }
        let stock = serde_json::from_value(Value::Object(entries)).map_err(A::Error::custom)?;
        Ok(Vocabulary::Stock(stock))
    }
}

impl Model for Vocabulary {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, word: &str) -> Result<Vec<Token>> {
        match self {
            Self::Unigram(own) => Ok(own.tokenize(word)?),
            Self::Stock(stock) => stock.tokenize(word),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Unigram(own) => own.id(token),
            Self::Stock(stock) => stock.token_to_id(token),
        }
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        match self {
            Self::Unigram(own) => own.piece(id).map(str::to_owned),
            Self::Stock(stock) => stock.id_to_token(id),
        }
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        match self {
            Self::Unigram(own) => own.vocabulary(),
            Self::Stock(stock) => stock.get_vocab(),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            Self::Unigram(own) => own.len(),
            Self::Stock(stock) => stock.get_vocab_size(),
        }
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> Result<Vec<PathBuf>> {
        match self {
            Self::Unigram(_) => Err("a tokenizer is read here, not written".into()),
            Self::Stock(stock) => stock.save(folder, prefix),
        }
    }

    fn get_trainer(&self) -> TrainerWrapper {
        match self {
            Self::Unigram(_) => tokenizers::models::unigram::UnigramTrainer::default().into(),
            Self::Stock(stock) => stock.get_trainer(),
        }
    }
}

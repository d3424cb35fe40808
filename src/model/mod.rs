//! A model: a bundle on disk, checked and loaded.

mod bundle;
mod head;
mod hugging_face;
mod hypotheses;
mod manifest;
mod nli;
mod tokenizer;
mod unigram;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::encoder::{Encoder, EncoderError, Precision};
use crate::weights::WeightsError;

pub use bundle::{bundles, describe, is_bundle, load_tokenizer, resolve, sha256};
pub use head::{Head, Logits, PairHead};
pub use hypotheses::{Question, fill};
pub use manifest::{
    Manifest, Platt, STANCES, Scores, Temperature, Template, TopicLabel, Training, WindowPooling, Windows,
    is_plain_name,
};
pub use nli::{Inference, Nli, NliHead};
pub use tokenizer::{Tokenizer, Vocabulary};

/// Why a bundle is not served. Each message names the file and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("{path}: {source}; {remedy}", path = path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
        remedy: &'static str,
    },
    #[error(
        "no model {name:?}: looked for a tasnif.toml in {looked}; name one with --model, or its folder with --models"
    )]
    Unknown { name: String, looked: String },
    #[error("{path}: {message}", path = path.display())]
    Manifest { path: PathBuf, message: String },
    #[error("{path}: not a tokenizer that can be read: {message}; export it again with `tokenizer.save_pretrained`", path = path.display())]
    Tokenizer { path: PathBuf, message: String },
    #[error("{path}: sha256 is {found}, tasnif.toml says {expected}; the file is damaged or was replaced, fetch the bundle again", path = path.display())]
    Hash {
        path: PathBuf,
        found: String,
        expected: String,
    },
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error("{path}: {source}", path = path.display())]
    Encoder { path: PathBuf, source: EncoderError },
    #[error("{path}: {message}", path = path.display())]
    SelfTest { path: PathBuf, message: String },
}

/// A loaded model: encoder and heads, and what the manifest says of them.
#[derive(Debug)]
pub struct Model {
    pub dir: PathBuf,
    pub manifest: Manifest,
    pub encoder: Box<dyn Encoder>,
    pub topics: Option<Head>,
    pub stance: Option<PairHead>,
    pub nli: Option<NliHead>,
}

impl Model {
    /// Loads the bundle in `dir`, its tokenizer beside it, and checks it against its own manifest: hashes, shapes, finite
    /// weights.
    pub fn load(dir: &Path, precision: Precision) -> Result<(Self, Arc<Tokenizer>), ModelError> {
        bundle::load(dir, precision)
    }
}

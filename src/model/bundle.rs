//! From a name to a directory, and from a directory to a [`Model`].

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;

use super::{Head, Manifest, Model, ModelError, PairHead};
use crate::encoder::{Bert, BertConfig};
use crate::weights::Weights;

pub(super) const MANIFEST: &str = "tasnif.toml";
const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";

/// The directory of the model `name`: a folder of `models`, or a path to a bundle.
pub fn resolve(models: &Path, name: &str) -> Result<PathBuf, ModelError> {
    let candidates = [models.join(name), PathBuf::from(name)];
    candidates
        .iter()
        .find(|dir| dir.join(MANIFEST).is_file())
        .cloned()
        .ok_or_else(|| ModelError::Unknown {
            name: name.to_owned(),
            looked: candidates.map(|dir| dir.display().to_string()).join(" and "),
        })
}

pub(super) fn load(dir: &Path) -> Result<(Model, Tokenizer), ModelError> {
    let manifest_path = dir.join(MANIFEST);
    let text = read(&manifest_path, "every bundle has one, see models/README.md")?;
    let manifest = std::str::from_utf8(&text)
        .map_err(|error| error.to_string())
        .and_then(Manifest::parse)
        .map_err(|message| ModelError::Manifest {
            path: manifest_path.clone(),
            message,
        })?;

    // Hashing, reading the vocabulary and expanding the layers take about as long as each other and share nothing.
    let (checked, (tokenizer, built)) = rayon::join(
        || check_hashes(dir, &manifest),
        || rayon::join(|| load_tokenizer(dir), || build(dir, &manifest)),
    );
    checked?;
    let tokenizer = tokenizer?;
    let (encoder, topics, stance) = built?;

    if manifest.windows.tokens > encoder.config().max_tokens() {
        return Err(ModelError::Manifest {
            path: manifest_path,
            message: format!(
                "[windows] tokens = {}, but the encoder has {} positions",
                manifest.windows.tokens,
                encoder.config().max_tokens()
            ),
        });
    }
    let model = Model {
        dir: dir.to_path_buf(),
        manifest,
        encoder,
        topics,
        stance,
    };
    Ok((model, tokenizer))
}

fn read(path: &Path, remedy: &'static str) -> Result<Vec<u8>, ModelError> {
    fs::read(path).map_err(|source| ModelError::Unreadable {
        path: path.to_path_buf(),
        source,
        remedy,
    })
}

fn check_hashes(dir: &Path, manifest: &Manifest) -> Result<(), ModelError> {
    for (name, expected) in &manifest.files {
        let path = dir.join(name);
        let unreadable = |source| ModelError::Unreadable {
            path: path.clone(),
            source,
            remedy: "tasnif.toml names it under [files], fetch the bundle again",
        };
        let mut hasher = Sha256::new();
        let mut file = fs::File::open(&path).map_err(unreadable)?;
        std::io::copy(&mut file, &mut hasher).map_err(unreadable)?;
        let found: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if !found.eq_ignore_ascii_case(expected) {
            return Err(ModelError::Hash {
                path,
                found,
                expected: expected.clone(),
            });
        }
    }
    Ok(())
}

fn load_tokenizer(dir: &Path) -> Result<Tokenizer, ModelError> {
    let path = dir.join(TOKENIZER);
    let json = read(&path, "every bundle has one, as Hugging Face's tokenizers write it")?;
    let mut tokenizer = Tokenizer::from_bytes(&json).map_err(|error| ModelError::Tokenizer {
        path: path.clone(),
        message: error.to_string(),
    })?;
    // The characters "</s>" in an article are text.
    tokenizer.set_encode_special_tokens(true);
    // What a file brings of truncation or padding would drop text or add tokens behind our back.
    tokenizer
        .with_truncation(None)
        .map_err(|error| ModelError::Tokenizer {
            path,
            message: error.to_string(),
        })?
        .with_padding(None);
    Ok(tokenizer)
}

type Parts = (Bert, Option<Head>, Option<PairHead>);

fn build(dir: &Path, manifest: &Manifest) -> Result<Parts, ModelError> {
    let path = dir.join(CONFIG);
    let json = read(&path, "every bundle has one, as Hugging Face writes it")?;
    let config = BertConfig::parse(&json).map_err(|source| ModelError::Config { path, source })?;
    let hidden = config.hidden_size;
    let weights = Weights::open(dir)?;
    let encoder = Bert::load(config, &weights).map_err(|source| ModelError::Encoder {
        dir: dir.to_path_buf(),
        source,
    })?;
    let topics = manifest
        .topics
        .as_ref()
        .map(|topics| Head::load(&weights, "topics", hidden, topics.labels.len()))
        .transpose()?;
    let stance = manifest
        .stance
        .as_ref()
        .map(|_| PairHead::load(&weights, "stance", hidden))
        .transpose()?;
    Ok((encoder, topics, stance))
}

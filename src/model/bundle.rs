//! From a name to a directory, and from a directory to a [`Model`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::head::{Classifier, MeanHead};
use super::hugging_face::ClassifierConfig;
use super::nli::NliHead;
use super::{Head, Manifest, Model, ModelError, PairHead, Template, Tokenizer, Windows, manifest};
use crate::encoder::{self, Encoder, Precision};
use crate::weights::{Shared, Weights};

pub(super) const MANIFEST: &str = "tasnif.toml";
const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";

/// The directory of the model `name`: a folder of `models`, or a path to a bundle.
pub fn resolve(models: &Path, name: &str) -> Result<PathBuf, ModelError> {
    let candidates = [models.join(name), PathBuf::from(name)];
    candidates
        .iter()
        .find(|dir| is_bundle(dir))
        .cloned()
        .ok_or_else(|| ModelError::Unknown {
            name: name.to_owned(),
            looked: candidates.map(|dir| dir.display().to_string()).join(" and "),
        })
}

/// The bundles of a models folder, by name. Hidden folders are none: that is where a bundle lies before it is whole.
pub fn bundles(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let hidden = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with('.');
    let entries = fs::read_dir(folder)?.flatten().filter(|entry| !hidden(entry));
    let mut dirs: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|dir| is_bundle(dir)).collect();
    dirs.sort();
    Ok(dirs)
}

/// Whether a folder looks like a model, ours or Hugging Face's.
#[must_use]
pub fn is_bundle(dir: &Path) -> bool {
    dir.join(MANIFEST).is_file() || dir.join(CONFIG).is_file()
}

pub(super) fn load(dir: &Path, precision: Precision) -> Result<(Model, Arc<Tokenizer>), ModelError> {
    let config_path = dir.join(CONFIG);
    let config = read(&config_path, "every bundle has one, as Hugging Face writes it")?;
    let written = read_manifest(dir)?;
    let hashes = written
        .as_ref()
        .map(|manifest| manifest.files.clone())
        .unwrap_or_default();

    // Hashing, reading the vocabulary and expanding the layers take about as long as each other and share nothing.
    let (checked, (tokenizer, built)) = rayon::join(
        || check_hashes(dir, &hashes),
        || {
            rayon::join(
                || load_tokenizer(dir),
                || {
                    let weights = Arc::new(Weights::open_known(dir, &hashes)?);
                    let encoder =
                        encoder::load(&config, &weights, precision).map_err(|source| ModelError::Encoder {
                            path: config_path.clone(),
                            source,
                        })?;
                    Ok::<_, ModelError>((weights, encoder))
                },
            )
        },
    );
    checked?;
    let tokenizer = tokenizer?;
    let (weights, encoder) = built?;
    weights.share();

    let wrong = |path: &Path, message: String| ModelError::Manifest {
        path: path.to_path_buf(),
        message,
    };
    let classifier = ClassifierConfig::parse(&config).map_err(|message| wrong(&config_path, message))?;
    let manifest = match written {
        Some(manifest) => manifest,
        None => classifier
            .manifest(&folder_name(dir), encoder.max_tokens())
            .map_err(|message| wrong(&config_path, message))?,
    };
    check_fit(&manifest, encoder.as_ref()).map_err(|message| wrong(&dir.join(MANIFEST), message))?;

    let hidden = encoder.hidden_size();
    let shape = || classifier.shape().map_err(|message| wrong(&config_path, message));
    let topics = match &manifest.topics {
        None => None,
        Some(topics) => Some(match topics.head {
            manifest::Head::Mean => Head::Mean(MeanHead::load(&weights, "topics", hidden, topics.labels.len())?),
            manifest::Head::Classifier => {
                Head::Classifier(Classifier::load(&weights, shape()?, hidden, topics.labels.len())?)
            }
        }),
    };
    let stance = match &manifest.stance {
        None => None,
        Some(_) => Some(PairHead::load(&weights, "stance", hidden)?),
    };
    let nli = match &manifest.nli {
        None => None,
        Some(nli) => Some(NliHead::load(&weights, shape()?, hidden, nli)?),
    };
    let model = Model {
        dir: dir.to_path_buf(),
        manifest,
        encoder,
        topics,
        stance,
        nli,
    };
    Ok((model, tokenizer))
}

/// Whether the encoder can read the sequences that the manifest describes.
fn check_fit(manifest: &Manifest, encoder: &dyn Encoder) -> Result<(), String> {
    let (needed, max) = (manifest.positions(), encoder.max_tokens());
    if needed > max {
        let Windows {
            tokens, target_tokens, ..
        } = manifest.windows;
        return Err(format!(
            "[windows] tokens = {tokens}, target_tokens = {target_tokens}: the longest sequence takes {needed} positions, but \
             the encoder has {max}"
        ));
    }
    if manifest.input.template == Template::Shared && !encoder.takes_branches() {
        return Err(
            "[input] template = \"shared\" is for encoders of the BERT family; this architecture takes no branches"
                .to_owned(),
        );
    }
    Ok(())
}

/// The bundle's own manifest; an ordinary Hugging Face model has none.
fn read_manifest(dir: &Path) -> Result<Option<Manifest>, ModelError> {
    let path = dir.join(MANIFEST);
    if !path.is_file() {
        return Ok(None);
    }
    let text = read(&path, "make it readable")?;
    std::str::from_utf8(&text)
        .map_err(|error| error.to_string())
        .and_then(Manifest::parse)
        .map(Some)
        .map_err(|message| ModelError::Manifest { path, message })
}

/// What a model without a name of its own is called: its folder.
fn folder_name(dir: &Path) -> String {
    let absolute = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    absolute
        .file_name()
        .map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn read(path: &Path, remedy: &'static str) -> Result<Vec<u8>, ModelError> {
    fs::read(path).map_err(|source| ModelError::Unreadable {
        path: path.to_path_buf(),
        source,
        remedy,
    })
}

/// The sha256 of a file, in lower-case hexadecimal.
pub fn sha256(path: &Path) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut fs::File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What a bundle says of itself, without its weights.
pub fn describe(dir: &Path) -> Result<Manifest, ModelError> {
    if let Some(manifest) = read_manifest(dir)? {
        return Ok(manifest);
    }
    let path = dir.join(CONFIG);
    let config = read(&path, "every bundle has one, as Hugging Face writes it")?;
    // The positions, from which the windows follow, are the encoder's to know; nothing else depends on them.
    ClassifierConfig::parse(&config)
        .and_then(|config| config.manifest(&folder_name(dir), 512))
        .map_err(|message| ModelError::Manifest { path, message })
}

fn check_hashes(dir: &Path, hashes: &BTreeMap<String, String>) -> Result<(), ModelError> {
    for (name, expected) in hashes {
        let path = dir.join(name);
        let unreadable = |source| ModelError::Unreadable {
            path: path.clone(),
            source,
            remedy: "tasnif.toml names it under [files], fetch the bundle again",
        };
        let found = sha256(&path).map_err(unreadable)?;
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

/// Tokenizers that are loaded now, by the sha256 of their files. Fine-tunes of one base have one between them: for a
/// vocabulary of 250,000 it is 11 MB.
static TOKENIZERS: Shared<[u8; 32], Tokenizer> = Shared::new();

/// The tokenizer of the bundle in `dir`, or the same one where another bundle has it loaded.
pub fn load_tokenizer(dir: &Path) -> Result<Arc<Tokenizer>, ModelError> {
    let path = dir.join(TOKENIZER);
    let json = read(&path, "every bundle has one, as Hugging Face's tokenizers write it")?;
    let hash = Sha256::digest(&json).into();
    if let Some(tokenizer) = TOKENIZERS.get(&hash) {
        return Ok(tokenizer);
    }
    let mut tokenizer: Tokenizer = serde_json::from_slice(&json).map_err(|error| ModelError::Tokenizer {
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
    let tokenizer = Arc::new(tokenizer);
    TOKENIZERS.put(hash, &tokenizer);
    Ok(tokenizer)
}

//! What makes two runs the same run.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::journal::Fingerprint;
use super::{Fields, Format, ReadError, ScoreError, Settings, is_stream};
use crate::model;
use crate::pipeline::Pipeline;

/// Blocks of an input that are hashed, evenly spread, and their size: 4 MiB of any file, a moment's reading. An export that
/// was made again differs in its length, or in rows all over the file; a copy on another disk does not.
const BLOCKS: u64 = 64;
const BLOCK: u64 = 1 << 16;

/// All that the output depends on. Threads and batches are not among it, and `strict` and the names of the files only say
/// where a run ends and lies.
pub(super) fn of_run(
    settings: &Settings,
    formats: [Format; 2],
    pipeline: &Pipeline,
    model_dir: &Path,
) -> Result<Fingerprint, ScoreError> {
    let model = pipeline.model_ref();
    let files =
        of_model(model_dir).map_err(|error| ScoreError::Refused(format!("{}: {error}", model_dir.display())))?;
    let input = if is_stream(&settings.input) {
        "a stream".to_owned()
    } else {
        of_input(&settings.input).map_err(ReadError::from)?
    };
    let Fields {
        text,
        title,
        id,
        language,
        targets,
        keep,
    } = &settings.fields;
    let preset = &settings.preset;
    let entries = [
        ("tasnif", env!("CARGO_PKG_VERSION").to_owned()),
        ("the model", format!("{} {} ({files})", model.name, model.version)),
        ("the input", input),
        ("the input's format", formats[0].to_string()),
        ("the output's format", formats[1].to_string()),
        ("--precision", format!("{:?}", settings.precision)),
        ("--text-field", text.clone()),
        ("--title-field", title.clone()),
        ("--id-field", id.clone()),
        ("--language-field", language.clone()),
        ("--target-field", format!("{targets:?}")),
        ("--target", format!("{:?}", preset.targets)),
        ("--tasks", format!("{:?}", preset.tasks)),
        ("--top-k", format!("{:?}", preset.top_k)),
        ("--threshold", format!("{:?}", preset.threshold)),
        ("--keep", format!("{keep:?}")),
        ("--max-row-bytes", settings.max_row_bytes.to_string()),
    ];
    Ok(entries
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect())
}

/// Length and a sample's sha256.
fn of_input(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut hasher = Sha256::new();
    for block in 0..BLOCKS {
        let last = length.saturating_sub(BLOCK);
        // In u128, since 63 times a large file's length doesn't fit 64 bits.
        let start = u128::from(last) * u128::from(block) / u128::from(BLOCKS - 1);
        file.seek(SeekFrom::Start(u64::try_from(start).unwrap_or(last)))?;
        io::copy(&mut file.by_ref().take(BLOCK), &mut hasher)?;
        if length <= BLOCK {
            break;
        }
    }
    Ok(format!("{length} bytes, sample {}", short(hasher)))
}

/// A hash over all that a model's folder holds of configuration and weights.
fn of_model(dir: &Path) -> io::Result<String> {
    let mut files: Vec<_> = std::fs::read_dir(dir)?.collect::<io::Result<_>>()?;
    files.sort_by_key(std::fs::DirEntry::file_name);
    let mut hasher = Sha256::new();
    for file in files {
        let path = file.path();
        let matters = path
            .extension()
            .is_some_and(|extension| extension == "json" || extension == "toml" || extension == "safetensors");
        if matters && path.is_file() {
            hasher.update(file.file_name().as_encoded_bytes());
            hasher.update(model::sha256(&path)?);
        }
    }
    Ok(short(hasher))
}

/// 64 bits are enough against accidents, and short enough for a message.
fn short(hasher: Sha256) -> String {
    hasher
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_same_and_a_change_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for length in [0, 1, 65_536, 65_537, 9_000_000] {
            let mut bytes: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            std::fs::write(&a, &bytes).expect("written");
            std::fs::write(&b, &bytes).expect("written");
            assert_eq!(of_input(&a).expect("read"), of_input(&b).expect("read"));
            if let Some(byte) = bytes.last_mut() {
                *byte ^= 1;
            }
            bytes.resize(length.max(1), 0);
            std::fs::write(&b, &bytes).expect("written");
            assert_ne!(of_input(&a).expect("read"), of_input(&b).expect("read"), "{length}");
        }
    }
}

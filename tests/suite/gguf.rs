//! Weights in GGUF: against transformers on the same numbers (golden files by scripts/make_gguf.py), and hostile files.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tasnif::encoder::Precision;
use tasnif::pipeline::Pipeline;
use tasnif::weights::Weights;

use super::classifiers::{disagreements, folder};
use super::common::repository;

const MODELS: [&str; 6] = [
    "xlm_roberta_f32",
    "xlm_roberta_f16",
    "xlm_roberta_bf16",
    "xlm_roberta_q8_0",
    "xlm_roberta_q4_0",
    "bert_q8_0",
];

fn source(name: &str) -> std::path::PathBuf {
    repository("tests/data/gguf").join(name)
}

#[test]
fn every_format_agrees_with_transformers() {
    let failures: Vec<String> = MODELS.iter().flat_map(|name| disagreements(&source(name))).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A header up to its entries and tensors, which follow as they are.
fn header(version: u32, tensors: u64, entries: u64, rest: &[u8]) -> Vec<u8> {
    let mut file = b"GGUF".to_vec();
    file.extend(version.to_le_bytes());
    file.extend(tensors.to_le_bytes());
    file.extend(entries.to_le_bytes());
    file.extend(rest);
    file
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn tensor(name: &str, shape: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut described = string(name);
    described.extend((shape.len() as u32).to_le_bytes());
    shape.iter().for_each(|size| described.extend(size.to_le_bytes()));
    described.extend(kind.to_le_bytes());
    described.extend(offset.to_le_bytes());
    described
}

fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&string(key)[..], &kind.to_le_bytes(), value].concat()
}

fn array(of: u32, count: u64) -> Vec<u8> {
    [&of.to_le_bytes()[..], &count.to_le_bytes()].concat()
}

fn open(dir: &Path, file: &[u8]) -> Result<Weights, String> {
    fs::write(dir.join("model.gguf"), file).expect("written");
    Weights::open(dir).map_err(|error| error.to_string())
}

#[test]
fn hostile_headers_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let huge = u64::MAX;
    let nested = (0..40).fold(Vec::new(), |inner, _| [array(9, 1), inner].concat());
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", Vec::new(), "header ends"),
        ("a zip", b"PK\x03\x04aaaaaaaaaaaaaaaaaaaaaaaa".to_vec(), "GGUF"),
        ("an old version", header(1, 0, 0, &[]), "version 1"),
        ("the other byte order", header(3u32.swap_bytes(), 0, 0, &[]), "version"),
        ("tensors without end", header(3, huge, 0, &[]), "header ends"),
        ("entries without end", header(3, 0, huge, &[]), "header ends"),
        (
            "a key longer than memory",
            header(3, 0, 1, &huge.to_le_bytes()),
            "header ends",
        ),
        (
            "a string longer than memory",
            header(3, 0, 1, &entry("a", 8, &huge.to_le_bytes())),
            "header ends",
        ),
        (
            "an array longer than memory",
            header(3, 0, 1, &entry("a", 9, &array(10, huge))),
            "header ends",
        ),
        (
            "strings without end",
            header(3, 0, 1, &entry("a", 9, &array(8, huge))),
            "header ends",
        ),
        (
            "arrays of arrays of arrays",
            header(3, 0, 1, &entry("a", 9, &nested)),
            "type 9",
        ),
        (
            "a type of value that isn't",
            header(3, 0, 1, &entry("a", 77, &[])),
            "type 77",
        ),
        (
            "no alignment",
            header(3, 0, 1, &entry("general.alignment", 4, &0u32.to_le_bytes())),
            "alignment of 0",
        ),
        (
            "a name that isn't UTF-8",
            header(3, 1, 0, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]),
            "name",
        ),
        (
            "many dimensions",
            header(3, 1, 0, &tensor("a", &[1; 9], 0, 0)),
            "9 dimensions",
        ),
        (
            "no dimension",
            header(3, 1, 0, &tensor("a", &[], 0, 0)),
            "within the file",
        ),
        (
            "sizes that overflow",
            header(3, 1, 0, &tensor("a", &[huge, huge], 0, 0)),
            "within the file",
        ),
        (
            "data beyond the end",
            header(3, 1, 0, &tensor("a", &[1 << 30], 0, 0)),
            "within the file",
        ),
        (
            "an offset that overflows",
            header(3, 1, 0, &tensor("a", &[1], 0, huge)),
            "within the file",
        ),
        (
            "rows of no whole blocks",
            header(3, 1, 0, &tensor("a", &[40], 8, 0)),
            "within the file",
        ),
        (
            "another quantisation",
            header(3, 1, 0, &tensor("a", &[256], 12, 0)),
            "type 12",
        ),
        (
            "a tensor twice",
            header(
                3,
                2,
                0,
                &[
                    tensor("token_embd.weight", &[0], 0, 0),
                    tensor("token_embd.weight", &[0], 0, 0),
                    vec![0; 64],
                ]
                .concat(),
            ),
            "again",
        ),
    ];
    for (name, file, says) in cases {
        let message = open(dir.path(), &file).expect_err(name);
        assert!(
            message.contains(says) && message.contains("model.gguf"),
            "{name}: {message}"
        );
    }
}

/// A bundle whose weights were cut off or don't fit is refused like one of safetensors.
#[test]
fn broken_gguf_bundles_are_refused() {
    for (keep, says) in [(40_000, "within the file"), (1_000, "header ends")] {
        let dir = folder(&source("xlm_roberta_q8_0"));
        let path = dir.path().join("model.gguf");
        let whole = fs::read(&path).expect("read");
        fs::write(&path, &whole[..keep]).expect("written");
        let message = Pipeline::load(dir.path(), Precision::Int8)
            .expect_err("refused")
            .to_string();
        assert!(message.contains(says) && message.contains("model.gguf"), "{message}");
    }
    let dir = folder(&source("bert_q8_0"));
    fs::remove_file(dir.path().join("head.safetensors")).expect("removed");
    let message = Pipeline::load(dir.path(), Precision::Int8)
        .expect_err("refused")
        .to_string();
    assert!(message.contains("pooler.dense.weight"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the bytes, there is an answer; a file that is opened describes tensors within it.
    #[test]
    fn damaged_files_never_panic(position in 0usize..2_000, bytes in prop::collection::vec(any::<u8>(), 1..16), cut in 0usize..50_000) {
        let dir = tempfile::tempdir().expect("a folder");
        let mut file = fs::read(source("bert_q8_0").join("model.gguf")).expect("read");
        file[position..position + bytes.len()].copy_from_slice(&bytes);
        file.truncate(cut.max(24));
        let _ = open(dir.path(), &file);
    }
}

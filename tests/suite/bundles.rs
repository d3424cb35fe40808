//! Broken bundles: each is refused at the start by a message that names the file at fault.

use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tasnif::encoder::Precision;
use tasnif::pipeline::Pipeline;

use super::common::repository;

/// A copy of models/tiny in `dir` whose manifest has another version and no hashes, and whose self-test is gone: for
/// changes that the tests make.
pub fn variant(dir: &Path, version: &str, change: impl FnOnce(String) -> String) {
    fs::create_dir_all(dir).expect("a folder");
    for entry in fs::read_dir(repository("models/tiny")).expect("models/tiny") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, dir.join(path.file_name().expect("a name"))).expect("copied");
    }
    fs::remove_file(dir.join("golden.jsonl")).expect("removed");
    edit(&dir.join("tasnif.toml"), |text| {
        let text = text.split("[files]").next().expect("a part").to_owned();
        change(text.replace("version = \"1.0.0\"", &format!("version = \"{version}\"")))
    });
}

/// A copy of models/tiny whose manifest lists no hashes, so that each fault is met where it lies.
fn copy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(repository("models/tiny")).expect("models/tiny") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, dir.path().join(path.file_name().expect("a name"))).expect("copied");
    }
    edit(&dir.path().join("tasnif.toml"), |text| {
        text.split("[files]").next().expect("a part").to_owned()
    });
    dir
}

pub fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    let text = fs::read_to_string(path).expect("text");
    fs::write(path, change(text)).expect("written");
}

fn replace(file: &'static str, from: &'static str, to: &'static str) -> Box<dyn FnOnce(&Path)> {
    Box::new(move |dir| {
        edit(&dir.join(file), |text| {
            assert!(text.contains(from), "{file} has no {from}");
            text.replacen(from, to, 1)
        });
    })
}

fn remove(file: &'static str) -> Box<dyn FnOnce(&Path)> {
    Box::new(move |dir| fs::remove_file(dir.join(file)).expect("removed"))
}

fn truncate(file: &'static str, bytes: usize) -> Box<dyn FnOnce(&Path)> {
    Box::new(move |dir| {
        let content = fs::read(dir.join(file)).expect("read");
        fs::write(dir.join(file), &content[..bytes]).expect("written");
    })
}

fn overwrite(file: &'static str, content: Vec<u8>) -> Box<dyn FnOnce(&Path)> {
    Box::new(move |dir| fs::write(dir.join(file), content).expect("written"))
}

/// Changes the first four bytes of a tensor's data.
fn poke(file: &'static str, tensor: &'static str, bytes: [u8; 4]) -> Box<dyn FnOnce(&Path)> {
    Box::new(move |dir| {
        let path = dir.join(file);
        let mut content = fs::read(&path).expect("read");
        let at = {
            let (header, metadata) = SafeTensors::read_metadata(&content).expect("a header");
            header + 8 + metadata.info(tensor).expect("a tensor").data_offsets.0
        };
        content[at..at + 4].copy_from_slice(&bytes);
        fs::write(&path, content).expect("written");
    })
}

fn one_tensor(name: &str, shape: Vec<usize>) -> Vec<u8> {
    let data = vec![0; shape.iter().product::<usize>() * 4];
    let view = TensorView::new(Dtype::F32, shape, &data).expect("a view");
    safetensors::serialize([(name, view)], None).expect("a file")
}

#[test]
fn a_broken_bundle_is_refused_by_name() {
    struct Case {
        name: &'static str,
        fault: Box<dyn FnOnce(&Path)>,
        /// All of these stand in the message.
        says: &'static [&'static str],
    }
    let case = |name, fault, says| Case { name, fault, says };
    let header = |length: u64, json: &str| [&length.to_le_bytes()[..], json.as_bytes()].concat();
    let cases = [
        case("no manifest", remove("tasnif.toml"), &["config.json", "no tasnif.toml"]),
        case("no config", remove("config.json"), &["config.json"]),
        case("no tokenizer", remove("tokenizer.json"), &["tokenizer.json"]),
        case("no heads", remove("heads.safetensors"), &["topics.weight"]),
        case(
            "no embeddings",
            remove("embeddings.safetensors"),
            &["embeddings.word_embeddings.weight"],
        ),
        case(
            "a manifest that is no TOML",
            replace("tasnif.toml", "format = 1", "format ="),
            &["tasnif.toml"],
        ),
        case(
            "a later format",
            replace("tasnif.toml", "format = 1", "format = 2"),
            &["tasnif.toml", "format 1"],
        ),
        case(
            "an unknown field",
            replace("tasnif.toml", "license", "licence"),
            &["tasnif.toml", "licence"],
        ),
        case(
            "a threshold that is no probability",
            replace("tasnif.toml", "threshold = 0.45", "threshold = 45"),
            &["tasnif.toml", "politics", "45"],
        ),
        case(
            "a label twice",
            replace("tasnif.toml", "\"sport\"", "\"politics\""),
            &["tasnif.toml", "politics", "twice"],
        ),
        case(
            "a calibration upside down",
            replace("tasnif.toml", "scale = 1.1", "scale = -1.1"),
            &["tasnif.toml", "politics", "scale"],
        ),
        case(
            "stance labels in another order",
            replace("tasnif.toml", "\"favor\", \"against\"", "\"against\", \"favor\""),
            &["tasnif.toml", "order"],
        ),
        case(
            "a zero temperature",
            replace("tasnif.toml", "temperature = 1.2", "temperature = 0"),
            &["tasnif.toml", "temperature"],
        ),
        case(
            "windows without room",
            replace("tasnif.toml", "tokens = 128", "tokens = 40"),
            &["tasnif.toml", "[windows]"],
        ),
        case(
            "windows longer than the positions",
            replace("tasnif.toml", "tokens = 128", "tokens = 1024"),
            &["tasnif.toml", "1024", "512"],
        ),
        case(
            "a path out of the bundle",
            replace("tasnif.toml", "[stance]", "[files]\n\"../secret\" = \"00\"\n[stance]"),
            &["tasnif.toml", "../secret"],
        ),
        case(
            "a wrong hash",
            replace("tasnif.toml", "[stance]", "[files]\n\"config.json\" = \"00\"\n[stance]"),
            &["config.json", "sha256"],
        ),
        case(
            "another architecture",
            replace("config.json", "\"bert\"", "\"t5\""),
            &["config.json", "t5"],
        ),
        case(
            "another activation",
            replace("config.json", "\"gelu\"", "\"gelu_new\""),
            &["config.json", "gelu_new"],
        ),
        case(
            "heads that don't divide",
            replace(
                "config.json",
                "\"num_attention_heads\": 4",
                "\"num_attention_heads\": 5",
            ),
            &["config.json", "num_attention_heads"],
        ),
        case(
            "a size that overflows",
            replace(
                "config.json",
                "\"hidden_size\": 64",
                "\"hidden_size\": 18446744073709551615",
            ),
            &["config.json", "hidden_size"],
        ),
        case(
            "another hidden size",
            replace("config.json", "\"hidden_size\": 64", "\"hidden_size\": 96"),
            &["safetensors", "shape"],
        ),
        case(
            "more layers than there are",
            replace("config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
            &["encoder.layer.2"],
        ),
        case(
            "a tokenizer that is no JSON",
            truncate("tokenizer.json", 1000),
            &["tokenizer.json"],
        ),
        case(
            "weights cut off",
            truncate("encoder.safetensors", 50_000),
            &["encoder.safetensors", "complete"],
        ),
        case(
            "weights of no bytes",
            overwrite("encoder.safetensors", Vec::new()),
            &["encoder.safetensors"],
        ),
        case(
            "a header longer than the file",
            overwrite("encoder.safetensors", header(1 << 40, "{}")),
            &["encoder.safetensors"],
        ),
        case(
            "a header that is no JSON",
            overwrite("encoder.safetensors", header(4, "PK\u{3}\u{4}")),
            &["encoder.safetensors"],
        ),
        case(
            "offsets beyond the file",
            overwrite(
                "encoder.safetensors",
                header(61, r#"{"x":{"dtype":"F32","shape":[9],"data_offsets":[0,36000000]}} "#),
            ),
            &["encoder.safetensors"],
        ),
        case(
            "a tensor twice",
            overwrite("more.safetensors", one_tensor("topics.bias", vec![3])),
            &["topics.bias", "more.safetensors"],
        ),
        case(
            "a head of another size",
            overwrite("heads.safetensors", one_tensor("topics.weight", vec![2, 64])),
            &["heads.safetensors", "topics.weight", "[2, 64]"],
        ),
        case(
            "a NaN",
            poke("heads.safetensors", "topics.bias", f32::NAN.to_le_bytes()),
            &["heads.safetensors", "topics.bias", "NaN"],
        ),
        case(
            "other weights",
            poke("heads.safetensors", "topics.bias", 3f32.to_le_bytes()),
            &["golden.jsonl", "self-test"],
        ),
        case(
            "another calibration",
            replace("tasnif.toml", "bias = -0.2", "bias = 0.2"),
            &["golden.jsonl", "politics"],
        ),
        case(
            "a self-test that is no JSON",
            replace("golden.jsonl", "{", "["),
            &["golden.jsonl", "line 1"],
        ),
    ];
    let mut failures = Vec::new();
    for case in cases {
        let dir = copy();
        (case.fault)(dir.path());
        match Pipeline::load(dir.path(), Precision::F32) {
            Ok(_) => failures.push(format!("{}: it was loaded", case.name)),
            Err(error) => {
                let message = error.to_string();
                if let Some(missing) = case.says.iter().find(|says| !message.contains(**says)) {
                    failures.push(format!("{}: no {missing:?} in {message:?}", case.name));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    Pipeline::load(copy().path(), Precision::F32).expect("without a fault it loads");
}

/// Weights in a pickle are not opened, and the message says how to convert them.
#[test]
fn a_pickle_is_refused_with_the_way_to_convert_it() {
    let dir = copy();
    for file in ["embeddings", "encoder", "heads"] {
        fs::remove_file(dir.path().join(format!("{file}.safetensors"))).expect("removed");
    }
    fs::write(dir.path().join("pytorch_model.bin"), b"\x80\x02}q\x00.").expect("written");
    let message = Pipeline::load(dir.path(), Precision::F32)
        .expect_err("refused")
        .to_string();
    assert!(message.contains("safe_serialization=True"), "{message}");
}

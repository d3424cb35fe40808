//! Archives to score, and the program to score them with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::common::repository;

/// Every output format.
pub const FORMATS: [&str; 7] = ["jsonl", "jsonl.gz", "jsonl.zst", "csv", "csv.gz", "csv.zst", "parquet"];

/// A folder with an archive in it.
pub struct Archive {
    dir: TempDir,
    pub jsonl: PathBuf,
}

impl Archive {
    /// Short rows in several scripts, all good and no two alike.
    pub fn new(rows: usize) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let jsonl = dir.path().join("in.jsonl");
        let texts = [
            "Oil prices rose",
            "فازت الفرق بالمباراة",
            "网络安全 会谈",
            "Переговоры, \"завтра\"\nв столице",
        ];
        let lines: String = (0..rows)
            .map(|row| {
                let text = format!("{} {row}", texts[row % texts.len()]).repeat(1 + row % 7);
                let row = json!({"id": format!("a{row}"), "text": text, "source": format!("s{row}"), "words": row});
                format!("{row}\n")
            })
            .collect();
        fs::write(&jsonl, lines).expect("written");
        Self { dir, jsonl }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The names of all that is in the folder.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).expect("a folder");
        entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect()
    }
}

/// The program with models/tiny.
pub fn tasnif(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tasnif"));
    command
        .args(args)
        .env("TASNIF_MODELS", repository("models"))
        .env("TASNIF_MODEL", "tiny");
    command
}

pub fn scoring(input: &Path, output: &Path, flags: &[&str]) -> Command {
    let mut command = tasnif(&["score"]);
    command.args(flags).arg(input).arg(output);
    command
}

pub fn score(input: &Path, output: &Path, flags: &[&str]) -> Output {
    scoring(input, output, flags).output().expect("the program runs")
}

pub fn read_jsonl(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("written");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

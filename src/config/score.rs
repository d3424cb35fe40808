//! The flags of `tasnif score`.

use std::path::PathBuf;

use clap::Args;

use super::{EngineArgs, MEGABYTE, TaskArg};
use crate::article::Article;
use crate::score::{Fields, Format, Leftovers, Settings};

pub(super) const HELP: &str = "\
Examples:
  tasnif score articles.parquet verdicts.parquet
  tasnif score --text-field body --id-field url --keep source,date archive.csv.gz verdicts.csv
  tasnif score --target 'the ceasefire' --target 'oil exports' articles.jsonl verdicts.jsonl.zst
  until tasnif score --resume articles.jsonl verdicts.jsonl; do [ $? -eq 1 ] || break; done
  zcat articles.jsonl.gz | tasnif score --input-format jsonl --output-format jsonl - - | jq .language

IN and OUT: jsonl, csv (each also with .gz or .zst) or parquet, by their names. Rows keep their order.
  jsonl     out: the verdict of POST /v1/classify a line, kept columns under \"kept\"
  csv, parquet  out: row, id, language, topics (the assigned ones, a|b), topic_LABEL for each score, target, stance and its
            scores, tokens, windows, error, error_message, kept columns. CSV in: several targets as a|b

A row that can't be read becomes a record with \"error\" and its row number (of JSONL every line is a row, empty ones too;
of CSV the header and blank lines are none). Nothing is written over: OUT.partial grows and becomes OUT at the end.

Exit status: 0 all good, 3 finished with bad rows, 2 refused before anything was done, 1 failed (--resume goes on),
130 interrupted (--resume goes on)";

#[derive(Debug, Args)]
pub struct ScoreArgs {
    #[command(flatten)]
    pub engine: EngineArgs,

    /// Memory for answers to texts that come again, word for word; 32 pays where many rows have the same text.
    // Off: an archive is mostly read once, and what is kept of it is of no use. Measured on posts, 10,000 of them and
    // 100,000 peak at 125 MB without it; docs/performance.md.
    #[arg(long, env = "TASNIF_CACHE_MB", value_name = "MB", default_value_t = 0)]
    cache_mb: usize,

    /// A model of the models folder, or a path to one.
    #[arg(long, env = "TASNIF_MODEL", value_name = "NAME", default_value = "default")]
    pub model: String,

    /// The articles, or - for standard input.
    #[arg(value_name = "IN")]
    pub input: PathBuf,

    /// The verdicts, or - for standard output.
    #[arg(value_name = "OUT")]
    pub output: PathBuf,

    /// What IN is, where its name doesn't tell: jsonl, csv or parquet (compression is recognized).
    #[arg(long, value_name = "FORMAT")]
    input_format: Option<Format>,

    /// What OUT is, where its name doesn't tell: jsonl, csv, jsonl.gz, jsonl.zst, csv.gz, csv.zst or parquet.
    #[arg(long, value_name = "FORMAT")]
    output_format: Option<Format>,

    /// The column with the text.
    #[arg(long, value_name = "COLUMN", default_value = "text")]
    text_field: String,

    /// The column with the title [default: title, if there is one].
    #[arg(long, value_name = "COLUMN")]
    title_field: Option<String>,

    /// The column with the id, text or number [default: id, if there is one].
    #[arg(long, value_name = "COLUMN")]
    id_field: Option<String>,

    /// The column with the ISO 639-1 code, where it is known [default: language, if there is one].
    #[arg(long, value_name = "COLUMN")]
    language_field: Option<String>,

    /// The column with each row's own target, or list of them [default: targets, if there is one].
    #[arg(long, value_name = "COLUMN", conflicts_with = "targets")]
    target_field: Option<String>,

    /// What to judge the stance of all rows toward; repeat it for several. Without any: each article's main subject.
    #[arg(long = "target", value_name = "TARGET")]
    targets: Vec<String>,

    /// Columns that go into the output as they are.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    keep: Vec<String>,

    /// Only these tasks [default: all that the model has].
    #[arg(long, value_name = "TASKS", value_delimiter = ',')]
    tasks: Vec<TaskArg>,

    /// The best K topics instead of all.
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,

    /// One threshold for all topics instead of the model's own.
    #[arg(long, value_name = "0..1")]
    threshold: Option<f32>,

    /// The largest row; a larger one is a bad row.
    #[arg(long, value_name = "BYTES", default_value_t = 2 << 20)]
    max_row_bytes: usize,

    /// End at the first bad row, with its number and reason.
    #[arg(long)]
    strict: bool,

    /// Go on with a run that was cut; begin one if there is none. Refused if the input, the model or a flag changed.
    #[arg(long, conflicts_with = "force")]
    resume: bool,

    /// Start again: drop what a cut run left, and replace OUT at the end.
    #[arg(long)]
    force: bool,
}

impl ScoreArgs {
    #[must_use]
    pub fn cache_bytes(&self) -> usize {
        self.cache_mb.saturating_mul(MEGABYTE)
    }

    #[must_use]
    pub fn settings(&self) -> Settings {
        let or = |field: &Option<String>, default: &str| field.clone().unwrap_or_else(|| default.to_owned());
        let named = [
            &self.title_field,
            &self.id_field,
            &self.language_field,
            &self.target_field,
        ];
        Settings {
            input: self.input.clone(),
            output: self.output.clone(),
            input_format: self.input_format,
            output_format: self.output_format,
            fields: Fields {
                text: self.text_field.clone(),
                title: or(&self.title_field, "title"),
                id: or(&self.id_field, "id"),
                language: or(&self.language_field, "language"),
                targets: self.targets.is_empty().then(|| or(&self.target_field, "targets")),
                keep: self.keep.clone(),
            },
            named: named.into_iter().flatten().cloned().collect(),
            preset: Article {
                targets: self.targets.clone(),
                tasks: (!self.tasks.is_empty()).then(|| self.tasks.iter().map(|&task| task.into()).collect()),
                top_k: self.top_k,
                threshold: self.threshold,
                ..Article::default()
            },
            precision: self.engine.precision(),
            max_row_bytes: self.max_row_bytes,
            strict: self.strict,
            leftovers: match (self.resume, self.force) {
                (true, _) => Leftovers::Resume,
                (_, true) => Leftovers::Replace,
                _ => Leftovers::Refuse,
            },
        }
    }
}

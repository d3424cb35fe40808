//! Every flag and its environment variable. Two are read where they act: `TASNIF_ISA` by the encoder, glibc's `MALLOC_ARENA_MAX` by
//! the weights.

mod score;
mod serve;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::article::Task;
use crate::batcher::Settings;
use crate::encoder::Precision;
use crate::http::Scope;
use crate::hub;

pub use score::ScoreArgs;
pub use serve::{AddressArgs, ServeArgs};

/// What a flag in megabytes counts.
const MEGABYTE: usize = 1_000_000;

/// Version, commit and features; build.rs finds the latter two.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("TASNIF_COMMIT"),
    ", features: ",
    env!("TASNIF_FEATURES"),
    ")"
);

/// Topics and stance of news articles in any language, with calibrated confidence, on a plain CPU.
#[derive(Debug, Parser)]
#[command(name = "tasnif", version = VERSION, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// How the log is written (it goes to standard error).
    #[arg(long, global = true, env = "TASNIF_LOG_FORMAT", default_value = "pretty")]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or tracing's directives such as tasnif=debug,warn.
    #[arg(long, global = true, env = "TASNIF_LOG", value_name = "FILTER")]
    pub log: Option<String>,

    /// Send a trace of each request to this OpenTelemetry collector (OTLP over HTTP), such as http://localhost:4318.
    #[arg(long, global = true, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", hide = !cfg!(feature = "otlp"))]
    pub otlp_endpoint: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    Pretty,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer articles over HTTP.
    #[command(after_help = serve::HELP)]
    Serve(ServeArgs),
    /// Say what one article is about and where it stands.
    #[command(after_help = CLASSIFY_EXAMPLES)]
    Classify(ClassifyArgs),
    /// Score an archive: JSONL, CSV or Parquet in and out, with progress, in little memory, and on after a crash.
    #[command(after_help = score::HELP)]
    Score(ScoreArgs),
    /// List, inspect, verify and fetch models.
    #[command(after_help = MODELS_EXAMPLES)]
    Models(ModelsArgs),
    /// Ask a running service whether it is ready: for health checks where there is no curl.
    Health(HealthArgs),
    /// Measure throughput, latency and memory on articles of your own.
    #[command(after_help = BENCH_EXAMPLES)]
    Bench(BenchArgs),
    /// Make an API key, and the line by which the service knows it.
    #[command(after_help = KEY_EXAMPLES)]
    Key(KeyArgs),
}

const CLASSIFY_EXAMPLES: &str = "\
Examples:
  tasnif classify article.txt
  tasnif classify --target 'the ceasefire' --evidence article.txt
  curl -s … | tasnif classify --json -

A file is the article's text; one that ends in .json is an article object as POST /v1/classify takes it.";

const MODELS_EXAMPLES: &str = "\
Examples:
  tasnif models list
  tasnif models verify default
  tasnif models pull OWNER/NAME@REVISION --as mine
  tasnif serve --model mine";

const BENCH_EXAMPLES: &str = "\
Example:
  tasnif bench --concurrency 16 articles.jsonl

FILE has one article object a line, as POST /v1/classify takes it; fields that it doesn't know are passed over.";

const KEY_EXAMPLES: &str = "\
Examples:
  tasnif key newsroom >>keys                        # shows the key, keeps its hash
  tasnif key operator --scope admin,metrics >>keys
  printf %s \"$KEY\" | tasnif key desk --stdin >>keys  # for a key that exists
  tasnif serve --api-keys-file keys

The service stores no key, only its SHA-256. A scope that no key has is open to everybody, except admin, which is closed then.";

/// Where the models are.
#[derive(Debug, Clone, Args)]
pub struct FolderArgs {
    /// The folder that holds the models, a folder each [default: ./models, else models beside the program].
    #[arg(long, env = "TASNIF_MODELS", value_name = "DIR")]
    models: Option<PathBuf>,
}

impl FolderArgs {
    /// `--models`, else `models` of the working directory, else `models` beside the program.
    #[must_use]
    pub fn models(&self) -> PathBuf {
        let here = PathBuf::from("models");
        if let Some(models) = &self.models {
            return models.clone();
        }
        if here.is_dir() {
            return here;
        }
        let beside = std::env::current_exe()
            .ok()
            .and_then(|program| Some(program.parent()?.join("models")))
            .filter(|dir| dir.is_dir());
        beside.unwrap_or(here)
    }
}

/// Where the models are, and how they run.
#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    #[command(flatten)]
    folder: FolderArgs,

    /// Threads that encode [default: the processors that the process may use, by affinity and cgroup quota].
    #[arg(long, env = "TASNIF_THREADS", value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// int8 is several times as fast, f32 the reference; architectures beyond BERT's family know f32 alone.
    #[arg(long, env = "TASNIF_PRECISION", default_value = "int8")]
    precision: PrecisionArg,

    /// The most tokens in one batch of a thread. In f32, activations take about 30 kB a token.
    #[arg(long, env = "TASNIF_BATCH_TOKENS", value_name = "N", default_value_t = 1024)]
    batch_tokens: usize,

    /// The most tokens admitted and not yet answered; what comes beyond is refused with 429.
    #[arg(long, env = "TASNIF_QUEUE_TOKENS", value_name = "N", default_value_t = 65_536)]
    queue_tokens: usize,
}

impl EngineArgs {
    #[must_use]
    pub fn models(&self) -> PathBuf {
        self.folder.models()
    }

    #[must_use]
    pub fn precision(&self) -> Precision {
        match self.precision {
            PrecisionArg::Int8 => Precision::Int8,
            PrecisionArg::F32 => Precision::F32,
        }
    }

    #[must_use]
    pub fn settings(&self) -> Settings {
        // available_parallelism knows the affinity mask and the cgroup's CPU quota (v1 and v2).
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Settings {
            threads: self.threads.map_or(processors, NonZeroUsize::get),
            batch_tokens: self.batch_tokens,
            queue_tokens: self.queue_tokens,
            cache_bytes: 0,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PrecisionArg {
    Int8,
    F32,
}

#[derive(Debug, Args)]
pub struct HealthArgs {
    #[command(flatten)]
    pub address: AddressArgs,
}

#[derive(Debug, Args)]
pub struct ClassifyArgs {
    #[command(flatten)]
    pub engine: EngineArgs,

    /// A model of the models folder, or a path to one.
    #[arg(long, env = "TASNIF_MODEL", value_name = "NAME", default_value = "default")]
    pub model: String,

    /// The article's file, or - for standard input.
    #[arg(default_value = "-")]
    pub file: PathBuf,

    /// What to judge the stance toward; repeat it for several. Without any: the article's main subject.
    #[arg(long = "target", value_name = "TARGET")]
    pub targets: Vec<String>,

    /// Score this label in place of the model's own topics; repeat it for several.
    #[arg(long = "label", value_name = "LABEL")]
    pub labels: Vec<String>,

    /// What an NLI model is to judge of each label, such as "This text is about {}." [default: by language].
    #[arg(long, value_name = "SENTENCE", requires = "labels")]
    pub hypothesis_template: Option<String>,

    /// Only one of the labels can be true.
    #[arg(long, requires = "labels")]
    pub single_label: bool,

    /// The title, where the text doesn't begin with it.
    #[arg(long)]
    pub title: Option<String>,

    /// Only this task; repeat it for several [default: all that the model has].
    #[arg(long = "task", value_name = "TASK")]
    pub tasks: Vec<TaskArg>,

    /// The best K topics instead of all.
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,

    /// One threshold for all topics instead of the model's own.
    #[arg(long, value_name = "0..1")]
    pub threshold: Option<f32>,

    /// Show the passages that speak for each assigned topic.
    #[arg(long)]
    pub evidence: bool,

    /// Print the verdict as JSON, as it is done into a pipe anyway.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum TaskArg {
    Topics,
    Stance,
}

impl From<TaskArg> for Task {
    fn from(task: TaskArg) -> Self {
        match task {
            TaskArg::Topics => Self::Topics,
            TaskArg::Stance => Self::Stance,
        }
    }
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    pub engine: EngineArgs,

    /// A model of the models folder, or a path to one.
    #[arg(long, env = "TASNIF_MODEL", value_name = "NAME", default_value = "default")]
    pub model: String,

    /// Articles, one object a line.
    pub file: PathBuf,

    /// Articles under way at a time in the saturated run.
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::new(16).unwrap_or(NonZeroUsize::MIN))]
    pub concurrency: NonZeroUsize,

    /// Articles that are read one at a time for the latency, spread over the file.
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub alone: usize,

    /// Print the figures as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct KeyArgs {
    /// Whose it is; the log tells it for each request.
    pub name: String,

    /// What it is good for; repeat it for several.
    #[arg(
        long = "scope",
        value_name = "SCOPE",
        value_delimiter = ',',
        default_value = "classify"
    )]
    pub scopes: Vec<Scope>,

    /// Read the key from standard input instead of making one.
    #[arg(long)]
    pub stdin: bool,
}

#[derive(Debug, Args)]
pub struct ModelsArgs {
    #[command(flatten)]
    pub folder: FolderArgs,

    #[command(subcommand)]
    pub command: ModelsCommand,
}

#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// The models of the folder, a line each.
    List,
    /// What a model says of itself: tasks, labels, thresholds, training, as JSON.
    Show {
        /// A model of the models folder, or a path to one.
        name: String,
    },
    /// Load models as serving would: files, hashes, shapes, finite weights, self-test.
    Verify {
        /// Models of the models folder, or paths [default: all of the folder].
        names: Vec<String>,
    },
    /// Fetch a model from the Hugging Face hub into the models folder, and verify it.
    Pull(PullArgs),
}

#[derive(Debug, Args)]
pub struct PullArgs {
    /// OWNER/NAME, with @REVISION for a branch, a tag or a commit.
    pub id: String,

    /// The folder's name [default: the last part of the id].
    #[arg(long = "as", value_name = "NAME")]
    pub name: Option<String>,

    /// Replace a model of that name.
    #[arg(long)]
    pub force: bool,

    /// The hub.
    #[arg(long, env = "HF_ENDPOINT", value_name = "URL")]
    endpoint: Option<String>,

    /// For private and gated models [default: the one that `hf auth login` stored].
    #[arg(long, env = "HF_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,

    /// Where downloads are kept [default: hub in HF_HOME, else ~/.cache/huggingface/hub].
    #[arg(long, env = "HF_HUB_CACHE", value_name = "DIR")]
    cache: Option<PathBuf>,

    #[arg(long, env = "HF_HOME", value_name = "DIR", hide = true)]
    home: Option<PathBuf>,

    /// Open no connection: only what the cache has.
    #[arg(long, env = "HF_HUB_OFFLINE", value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    offline: bool,
}

impl PullArgs {
    #[must_use]
    pub fn hub(&self, progress: bool) -> hub::Settings {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        hub::Settings {
            endpoint: filled(&self.endpoint),
            token: filled(&self.token),
            cache: self.cache.clone().or_else(|| Some(self.home.as_ref()?.join("hub"))),
            offline: self.offline,
            progress,
        }
    }
}

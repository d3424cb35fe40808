//! Every flag and every environment variable: nothing else reads either.

mod score;

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::HeaderValue;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::article::Task;
use crate::batcher::Settings;
use crate::encoder::Precision;
use crate::http::{Access, Key, KeyError, Limits, Scope};
use crate::hub;

pub use score::ScoreArgs;

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
    #[command(after_help = SERVE_EXAMPLES)]
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

const SERVE_EXAMPLES: &str = "\
Example:
  tasnif serve &
  curl -s localhost:8080/v1/classify -H 'Content-Type: application/json' \\
       -d '{\"text\": \"…\", \"targets\": [\"US-Russia talks\"]}'

Routes: POST /v1/classify, GET /v1/models, /v1/topics, /health/live, /health/ready, /metrics, /openapi.json, /docs
With a key of scope admin: POST or DELETE /v1/admin/models/NAME, PUT or DELETE /v1/admin/aliases/ALIAS";

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
pub struct ServeArgs {
    #[command(flatten)]
    pub engine: EngineArgs,

    /// A model of the models folder, or a path to one; repeat it for several. The first answers requests that name none.
    #[arg(
        long = "model",
        env = "TASNIF_MODEL",
        value_name = "NAME",
        default_value = "default",
        value_delimiter = ','
    )]
    pub names: Vec<String>,

    /// Serve all of the models folder, and follow it: new and changed models are loaded, removed ones unloaded.
    #[arg(long, env = "TASNIF_WATCH")]
    pub watch: bool,

    /// Keys by their hashes, as `tasnif key` writes them: NAME:SCOPES:SHA256; whoever calls sends `Authorization: Bearer KEY`.
    #[arg(
        long = "api-key",
        env = "TASNIF_API_KEYS",
        value_name = "LINE",
        value_delimiter = ','
    )]
    api_keys: Vec<Key>,

    /// A file of such lines; blank ones and those that begin with # are passed over.
    #[arg(long, env = "TASNIF_API_KEYS_FILE", value_name = "FILE")]
    pub api_keys_file: Option<PathBuf>,

    /// A key of scope admin as it is, not as a hash: it may load, unload and name models (/v1/admin/...).
    #[arg(long, env = "TASNIF_ADMIN_KEY", value_name = "KEY", hide_env_values = true)]
    admin_key: Option<String>,

    /// Pages of these origins may call (CORS): scheme and host, such as `https://desk.example.org`; * for all.
    #[arg(
        long = "cors-origin",
        env = "TASNIF_CORS_ORIGINS",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    origins: Vec<HeaderValue>,

    /// Serve HTTPS with this certificate and its chain (PEM). A renewed file is taken up without a restart.
    #[arg(long, env = "TASNIF_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's key (PEM).
    #[arg(long, env = "TASNIF_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    #[command(flatten)]
    pub cache: CacheArgs,

    #[command(flatten)]
    pub address: AddressArgs,

    /// The largest request body; of a stream, the longest line.
    #[arg(long, env = "TASNIF_MAX_BODY_BYTES", value_name = "BYTES", default_value_t = 2 << 20)]
    max_body_bytes: usize,

    /// The most articles in one request; of a stream, under way at a time.
    #[arg(long, env = "TASNIF_MAX_ARTICLES", value_name = "N", default_value_t = 256)]
    max_articles: usize,

    /// The longest that an article may take to be answered; a request may ask for less with X-Request-Timeout-Ms.
    // The default: a body of 2 MiB is about 500,000 tokens, 100 s of two processors; room for three such at a time.
    #[arg(long, env = "TASNIF_DEADLINE_SECONDS", value_name = "SECONDS", default_value_t = 300)]
    deadline_seconds: u64,

    /// How long a client is waited for: its request's head, its body, the next piece of a stream, taking its answer.
    // The default: longer than the 60 s for which common load balancers keep idle connections.
    #[arg(
        long,
        env = "TASNIF_CLIENT_TIMEOUT_SECONDS",
        value_name = "SECONDS",
        default_value_t = 75
    )]
    client_timeout_seconds: u64,

    /// How long open requests may take to be answered after SIGTERM.
    #[arg(long, env = "TASNIF_GRACE_SECONDS", value_name = "SECONDS", default_value_t = 30)]
    grace_seconds: u64,
}

impl ServeArgs {
    /// `file` holds the lines of `--api-keys-file`.
    pub fn access(&self, file: &str) -> Result<Access, KeyError> {
        let mut keys = self.api_keys.clone();
        for line in file
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        {
            keys.push(line.parse()?);
        }
        // An empty variable is how a deployment says that there is none.
        let admin = self.admin_key.as_deref().filter(|key| !key.is_empty());
        keys.extend(admin.map(|key| Key::new("admin", &[Scope::Admin], key)));
        let origins = self.origins.clone();
        Ok(Access { keys, origins })
    }

    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            body_bytes: self.max_body_bytes,
            articles: self.max_articles,
            deadline: Duration::from_secs(self.deadline_seconds),
            patience: Duration::from_secs(self.client_timeout_seconds),
        }
    }

    #[must_use]
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds)
    }
}

/// What is remembered of articles that were read before.
#[derive(Debug, Args)]
pub struct CacheArgs {
    /// Memory for answers to texts that come again, word for word, as wire copy does; 0 reads every one anew.
    // A window's logits take about 400 bytes: the default has room for 80,000.
    #[arg(long, env = "TASNIF_CACHE_MB", value_name = "MB", default_value_t = 32)]
    cache_mb: usize,
}

impl CacheArgs {
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.cache_mb.saturating_mul(1_000_000)
    }
}

/// Where the service listens.
#[derive(Debug, Args)]
pub struct AddressArgs {
    /// The address that the service listens on; 0.0.0.0 for all.
    #[arg(long, env = "TASNIF_HOST", default_value = "127.0.0.1")]
    pub host: IpAddr,

    /// Its port; 0 for any free one, and the log tells which.
    #[arg(long, env = "TASNIF_PORT", default_value_t = 8080)]
    pub port: u16,
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

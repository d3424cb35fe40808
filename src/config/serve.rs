//! The flags of `tasnif serve`.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::HeaderValue;
use clap::Args;

use super::{EngineArgs, MEGABYTE};
use crate::http::{Access, Key, KeyError, Limits, Scope};

pub(super) const HELP: &str = "\
Example:
  tasnif serve &
  curl -s localhost:8080/v1/classify -H 'Content-Type: application/json' \\
       -d '{\"text\": \"…\", \"targets\": [\"US-Russia talks\"]}'

Routes: POST /v1/classify, GET /v1/models, /v1/topics, /health/live, /health/ready, /metrics, /openapi.json, /docs
With a key of scope admin: POST or DELETE /v1/admin/models/NAME, PUT or DELETE /v1/admin/aliases/ALIAS";

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

    /// Memory for answers to texts that come again, word for word, as wire copy does; 0 reads every one anew.
    // A window's logits take about 400 bytes: the default has room for 80,000.
    #[arg(long, env = "TASNIF_CACHE_MB", value_name = "MB", default_value_t = 32)]
    cache_mb: usize,

    #[command(flatten)]
    pub address: AddressArgs,

    /// The most connections open at a time; further ones wait until one ends. Each takes a file descriptor and some 10 to 25 kB.
    #[arg(long, env = "TASNIF_MAX_CONNECTIONS", value_name = "N", default_value_t = NonZeroUsize::new(4096).unwrap_or(NonZeroUsize::MIN))]
    pub max_connections: NonZeroUsize,

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
            deadline: seconds(self.deadline_seconds),
            patience: seconds(self.client_timeout_seconds),
        }
    }

    #[must_use]
    pub fn cache_bytes(&self) -> usize {
        self.cache_mb.saturating_mul(MEGABYTE)
    }

    #[must_use]
    pub fn grace(&self) -> Duration {
        seconds(self.grace_seconds)
    }
}

/// An instant so far ahead must be possible: a year, where somebody means "for ever".
fn seconds(asked: u64) -> Duration {
    Duration::from_secs(asked.min(365 * 24 * 3600))
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

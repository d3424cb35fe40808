//! Models from the Hugging Face hub into the models folder.
//!
//! hf-hub downloads into the ecosystem's own cache (so that nothing is fetched twice, and Python finds it too), at one commit:
//! whatever `revision` names is resolved once and pinned. From there the files of a bundle are linked into a folder beside
//! the models, checked, and renamed to their place: what stands in the models folder is whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::sync::{ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};
use serde::{Deserialize, Serialize};

use crate::encoder::Precision;
use crate::model::{ModelError, is_plain_name, sha256};
use crate::pipeline::Pipeline;

/// Written beside the files: where they come from.
pub const PULLED: &str = "pulled.json";

/// A download is tried so often; a cut connection goes on where it was cut.
const TRIES: u32 = 5;

/// How the hub is reached: the ecosystem's own environment variables.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// HF_ENDPOINT.
    pub endpoint: Option<String>,
    /// HF_TOKEN; without it, the one that `hf auth login` stored.
    pub token: Option<String>,
    /// HF_HUB_CACHE, or `hub` in HF_HOME.
    pub cache: Option<PathBuf>,
    /// HF_HUB_OFFLINE: no connection is opened at all.
    pub offline: bool,
    pub progress: bool,
}

/// What was pulled, and from where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    pub id: String,
    pub revision: String,
    pub commit: String,
    /// sha256 by file name.
    pub files: BTreeMap<String, String>,
}

/// Why a model can't be pulled.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("{0:?} is no model id of the hub; OWNER/NAME or OWNER/NAME@REVISION is expected")]
    Id(String),
    #[error("{0:?} can't be a folder's name; choose another with --as")]
    Name(String),
    #[error("{dir} is there already; choose another name with --as, or --force to replace it", dir = .0.display())]
    Exists(PathBuf),
    #[error("{id}: the hub knows no such model, revision or file ({what}); a private or gated one needs HF_TOKEN")]
    NotFound { id: String, what: String },
    #[error(
        "{id}: the hub refuses the token ({status}); set HF_TOKEN to one that may read it, and accept the model's terms on its page"
    )]
    Refused { id: String, status: u16 },
    #[error("{id}: {message}")]
    Unreachable { id: String, message: String },
    #[error("{id} is not in the cache at {cache}, and HF_HUB_OFFLINE forbids to fetch it", cache = .cache.display())]
    Offline { id: String, cache: PathBuf },
    #[error(
        "{id} has no safetensors, only {found}; pickles are not opened: convert it with \
         `AutoModelForSequenceClassification.from_pretrained({id:?}).save_pretrained(DIR, safe_serialization=True)`"
    )]
    Pickles { id: String, found: String },
    #[error("{id} has no {file}; {remedy}")]
    Incomplete {
        id: String,
        file: &'static str,
        remedy: &'static str,
    },
    #[error("{id}: {file} was damaged on its way: sha256 is {found}, the hub says {expected}")]
    Damaged {
        id: String,
        file: String,
        found: String,
        expected: String,
    },
    #[error("{path}: {source}", path = .path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{id} can't be served: {source}")]
    Model { id: String, source: Box<ModelError> },
}

/// A model id with its revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelId {
    pub id: String,
    pub revision: String,
}

impl ModelId {
    /// `OWNER/NAME`, `NAME`, either with `@REVISION`.
    pub fn parse(text: &str) -> Result<Self, HubError> {
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        let plain = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && part.len() <= 96 && part.chars().all(allowed) && !part.starts_with('.')
        };
        let parts: Vec<&str> = id.split('/').collect();
        let good_id = matches!(parts.len(), 1 | 2) && parts.iter().all(|part| plain(part));
        // A branch may have slashes.
        let good_revision = revision.split('/').all(plain);
        if !good_id || !good_revision {
            return Err(HubError::Id(text.to_owned()));
        }
        Ok(Self {
            id: id.to_owned(),
            revision: revision.to_owned(),
        })
    }

    /// The last part of the id: what the folder is called.
    #[must_use]
    pub fn name(&self) -> &str {
        self.id.rsplit('/').next().unwrap_or(&self.id)
    }
}

/// Brings a model into `models/NAME`, loads it once, and says what it was.
pub fn pull(settings: &Settings, model: &ModelId, models: &Path, name: &str, force: bool) -> Result<Pulled, HubError> {
    let target = target(models, name)?;
    if target.exists() && !force {
        return Err(HubError::Exists(target));
    }
    let (commit, files) = if settings.offline {
        from_cache(settings, model)?
    } else {
        fetch(settings, model)?
    };

    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| HubError::Io { path, source }
    };
    fs::create_dir_all(models).map_err(io(models))?;
    // On the same file system as the target, so that the rename is one step; hidden, so that no watch takes it up.
    let staging = tempfile::Builder::new()
        .prefix(".pull-")
        .tempdir_in(models)
        .map_err(io(models))?;
    let mut pulled = Pulled {
        id: model.id.clone(),
        revision: model.revision.clone(),
        commit,
        files: BTreeMap::new(),
    };
    for (file, path) in &files {
        let copy = staging.path().join(file);
        // The cache's names are links to blobs; what is wanted is the blob.
        let blob = path.canonicalize().map_err(io(path))?;
        fs::hard_link(&blob, &copy)
            .or_else(|_| fs::copy(&blob, &copy).map(drop))
            .map_err(io(&copy))?;
        let found = sha256(&copy).map_err(io(&copy))?;
        check_etag(model, file, &blob, &found)?;
        pulled.files.insert(file.clone(), found);
    }
    let record = staging.path().join(PULLED);
    let json = serde_json::to_vec_pretty(&pulled).unwrap_or_default();
    fs::write(&record, json).map_err(io(&record))?;

    Pipeline::load(staging.path(), Precision::default()).map_err(|source| HubError::Model {
        id: model.id.clone(),
        source: Box::new(source),
    })?;
    put(staging, &target).map_err(io(&target))?;
    Ok(pulled)
}

/// `models/NAME`, for a name that is one folder.
fn target(models: &Path, name: &str) -> Result<PathBuf, HubError> {
    // A hidden folder would never be listed.
    if is_plain_name(name) && !name.starts_with('.') {
        return Ok(models.join(name));
    }
    Err(HubError::Name(name.to_owned()))
}

/// Renames a finished folder to its place; what was there goes last.
fn put(staging: tempfile::TempDir, target: &Path) -> std::io::Result<()> {
    let staging = staging.keep();
    let old = target.exists().then(|| staging.with_extension("old"));
    if let Some(old) = &old {
        fs::rename(target, old)?;
    }
    // A temporary folder is its owner's alone; a model may be read by the service's user.
    #[cfg(unix)]
    fs::set_permissions(&staging, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    fs::rename(&staging, target)?;
    old.map_or(Ok(()), fs::remove_dir_all)
}

/// Files stored by LFS are named by their sha256 in the cache, which is their etag.
fn check_etag(model: &ModelId, file: &str, blob: &Path, found: &str) -> Result<(), HubError> {
    let etag = blob.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let is_sha256 = etag.len() == 64 && etag.chars().all(|c| c.is_ascii_hexdigit());
    if is_sha256 && !etag.eq_ignore_ascii_case(found) {
        // The next try must not find it again.
        let _ = fs::remove_file(blob);
        return Err(HubError::Damaged {
            id: model.id.clone(),
            file: file.to_owned(),
            found: found.to_owned(),
            expected: etag.into_owned(),
        });
    }
    Ok(())
}

type Files = BTreeMap<String, PathBuf>;

fn cache(settings: &Settings) -> Cache {
    settings.cache.clone().map_or_else(Cache::default, Cache::new)
}

/// The snapshot that was fetched before.
fn from_cache(settings: &Settings, model: &ModelId) -> Result<(String, Files), HubError> {
    let cache = cache(settings);
    let repo = cache.repo(Repo::with_revision(
        model.id.clone(),
        RepoType::Model,
        model.revision.clone(),
    ));
    let absent = || HubError::Offline {
        id: model.id.clone(),
        cache: cache.path().clone(),
    };
    let config = repo.get("config.json").ok_or_else(absent)?;
    let snapshot = config.parent().ok_or_else(absent)?;
    let commit = snapshot
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let entries = fs::read_dir(snapshot).map_err(|source| HubError::Io {
        path: snapshot.to_path_buf(),
        source,
    })?;
    let present: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let wanted = wanted(model, &present)?;
    Ok((
        commit,
        wanted
            .into_iter()
            .map(|file| (file.clone(), snapshot.join(file)))
            .collect(),
    ))
}

/// Everything that is missing from the cache, at the commit that the revision names now.
fn fetch(settings: &Settings, model: &ModelId) -> Result<(String, Files), HubError> {
    let cache = cache(settings);
    let mut builder = ApiBuilder::from_cache(cache.clone())
        .with_progress(settings.progress)
        .with_retries(TRIES as usize);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    if settings.token.is_some() {
        builder = builder.with_token(settings.token.clone());
    }
    let api = builder.build().map_err(|error| failure(model, "the client", &error))?;
    let moving = Repo::with_revision(model.id.clone(), RepoType::Model, model.revision.clone());
    let info = retried(model, &model.revision, || api.repo(moving.clone()).info())?;
    let present: Vec<String> = info.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
    let wanted = wanted(model, &present)?;

    let pinned = Repo::with_revision(model.id.clone(), RepoType::Model, info.sha.clone());
    let repo = api.repo(pinned);
    let mut files = Files::new();
    for file in wanted {
        let path = retried(model, &file, || repo.get(&file))?;
        files.insert(file, path);
    }
    // So that the same name is found offline.
    let named = cache.repo(moving);
    named.create_ref(&info.sha).map_err(|source| HubError::Io {
        path: cache.path().clone(),
        source,
    })?;
    Ok((info.sha, files))
}

/// Tries again after what may pass: no connection, a cut one, 429, 5xx.
fn retried<T>(model: &ModelId, what: &str, mut attempt: impl FnMut() -> Result<T, ApiError>) -> Result<T, HubError> {
    let mut wait = Duration::from_millis(500);
    for _ in 1..TRIES {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if may_pass(&error) => {
                tracing::warn!(what, %error, "the hub did not answer; trying again in {} ms", wait.as_millis());
                std::thread::sleep(wait);
                wait *= 2;
            }
            Err(error) => return Err(failure(model, what, &error)),
        }
    }
    attempt().map_err(|error| failure(model, what, &error))
}

fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(status) => Some(status),
            _ => None,
        },
        ApiError::TooManyRetries(error) => status(error),
        _ => None,
    }
}

fn may_pass(error: &ApiError) -> bool {
    match (error, status(error)) {
        (_, Some(status)) => status == 429 || status >= 500,
        (ApiError::RequestError(_) | ApiError::IoError(_) | ApiError::LockAcquisition(_), None) => true,
        _ => false,
    }
}

fn failure(model: &ModelId, what: &str, error: &ApiError) -> HubError {
    let id = model.id.clone();
    match status(error) {
        Some(404) => HubError::NotFound {
            id,
            what: what.to_owned(),
        },
        Some(status @ (401 | 403)) => HubError::Refused { id, status },
        Some(429) => HubError::Unreachable {
            id,
            message: "the hub asks for fewer requests (429); try again later, or with HF_TOKEN".to_owned(),
        },
        _ => HubError::Unreachable {
            id,
            message: format!("{what} can't be fetched: {error}; is the hub reachable (HF_ENDPOINT)?"),
        },
    }
}

/// The files of a bundle among those of a repository. Only its root counts, and only plain names.
fn wanted(model: &ModelId, present: &[String]) -> Result<Vec<String>, HubError> {
    const EXACT: [&str; 5] = [
        "config.json",
        "tokenizer.json",
        "tasnif.toml",
        "golden.jsonl",
        "README.md",
    ];
    let plain = |name: &&String| is_plain_name(name) && !name.starts_with('.');
    let weights = |name: &str| {
        Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "safetensors")
    };
    let wanted: Vec<String> = present
        .iter()
        .filter(plain)
        .filter(|name| EXACT.contains(&name.as_str()) || weights(name) || name.starts_with("LICENSE"))
        .cloned()
        .collect();

    let has = |file: &str| wanted.iter().any(|name| name == file);
    let id = || model.id.clone();
    if !has("config.json") {
        return Err(HubError::Incomplete {
            id: id(),
            file: "config.json",
            remedy: "it is no model of transformers",
        });
    }
    if !wanted.iter().any(|name| weights(name)) {
        let pickles = present
            .iter()
            .filter(|name| name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".h5"));
        let found: Vec<&str> = pickles.map(String::as_str).collect();
        let found = if found.is_empty() {
            "no weights".to_owned()
        } else {
            found.join(", ")
        };
        return Err(HubError::Pickles { id: id(), found });
    }
    if !has("tokenizer.json") {
        return Err(HubError::Incomplete {
            id: id(),
            file: "tokenizer.json",
            remedy: "make one with `AutoTokenizer.from_pretrained(…).save_pretrained(DIR)`, or import it with scripts/import_model.py",
        });
    }
    Ok(wanted)
}

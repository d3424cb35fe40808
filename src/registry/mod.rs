//! The models that are served: by name and version, under aliases, and replaced without a failed request.
//!
//! A request resolves its model once and keeps it: a swap changes what the next request finds, and the memory of the old
//! model goes with the last request that began on it. A newcomer is loaded and self-tested beside what is served, and takes
//! its place only if both succeed.

mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use crate::article::{Article, InputError, ModelRef, Verdict};
use crate::batcher::{Admission, Batcher, ClassifyError};
use crate::encoder::Precision;
use crate::model::{self, ModelError, is_plain_name};
use crate::pipeline::Pipeline;

pub use watch::watch;

/// The alias that answers requests which name no model.
pub const DEFAULT: &str = "default";

/// Why a model can't be served, unloaded or named.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error(transparent)]
    Model(Box<ModelError>),
    #[error("{0:?} is no name of a model: a folder of the models folder is expected, without a path")]
    Name(String),
    #[error("no model {0:?} is served; GET /v1/models lists them")]
    NotServed(String),
    #[error("there is no model {0:?} in the models folder")]
    NotThere(String),
    #[error("{0:?} is a model's own name; an alias needs another")]
    AliasIsModel(String),
    #[error("loading was given up: {0}")]
    Interrupted(String),
}

impl From<ModelError> for RegistryError {
    fn from(error: ModelError) -> Self {
        Self::Model(Box::new(error))
    }
}

/// A model as it is served.
#[derive(Debug)]
pub struct Served {
    /// Where it was loaded from.
    pub dir: PathBuf,
    pub pipeline: Arc<Pipeline>,
}

/// What `GET /v1/models` tells of one model.
#[derive(Debug)]
pub struct Listed {
    pub served: Arc<Served>,
    /// The aliases that lead to it.
    pub aliases: Vec<String>,
}

/// All models, before one batcher: they share its threads and its queue.
#[derive(Debug)]
pub struct Registry {
    /// The folder whose folders are models.
    models: PathBuf,
    precision: Precision,
    batcher: Batcher,
    state: RwLock<State>,
    /// One load at a time: each takes the memory of a model until it is switched to.
    loading: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// By name, and by version below it. The current one of a name is the last that was loaded.
    models: BTreeMap<String, Versions>,
    aliases: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Versions {
    current: Arc<Served>,
    /// Kept on request beside the current one.
    others: Vec<Arc<Served>>,
}

impl Registry {
    /// Nothing is served yet.
    #[must_use]
    pub fn new(models: PathBuf, precision: Precision, batcher: Batcher) -> Self {
        Self {
            models,
            precision,
            batcher,
            state: RwLock::default(),
            loading: Arc::default(),
        }
    }

    #[must_use]
    pub fn batcher(&self) -> &Batcher {
        &self.batcher
    }

    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    #[must_use]
    pub fn models(&self) -> &Path {
        &self.models
    }

    /// The verdict of the model that the article names.
    pub async fn classify(&self, article: Article, admission: Admission) -> Result<Verdict, ClassifyError> {
        article.check()?;
        let pipeline = self.resolve(article.model.as_deref())?;
        self.batcher.classify(pipeline, article, admission).await
    }

    /// The model for `name`: a name, `name@version`, or an alias; the default without one.
    pub fn resolve(&self, name: Option<&str>) -> Result<Arc<Pipeline>, InputError> {
        let state = read(&self.state);
        let asked = name.unwrap_or(DEFAULT);
        let found = state.find(asked).or_else(|| {
            // Whoever names no model and set no default gets the only one there is.
            let mut all = state.models.values();
            let only = all.next().filter(|_| name.is_none() && all.next().is_none());
            only.map(|versions| &versions.current)
        });
        found
            .map(|served| Arc::clone(&served.pipeline))
            .ok_or_else(|| InputError::UnknownModel {
                model: asked.to_owned(),
            })
    }

    /// Loads a folder of the models folder (or any bundle, for `dir`) and switches to it. `keep` leaves a previous version
    /// of the same name beside it.
    pub async fn load(&self, dir: PathBuf, keep: bool) -> Result<Arc<Served>, RegistryError> {
        let one = Arc::clone(&self.loading).lock_owned().await;
        let loading = {
            let (dir, precision) = (dir.clone(), self.precision);
            // The lock goes with the work, which ends by itself where whoever asked for it has left.
            tokio::task::spawn_blocking(move || (Pipeline::load(&dir, precision), one))
        };
        let (pipeline, _one) = loading
            .await
            .map_err(|error| RegistryError::Interrupted(error.to_string()))?;
        let pipeline = pipeline?;
        let served = Arc::new(Served {
            dir,
            pipeline: Arc::new(pipeline),
        });
        self.serve(Arc::clone(&served), keep);
        Ok(served)
    }

    /// Serves a loaded model from now on.
    pub fn serve(&self, served: Arc<Served>, keep: bool) {
        let ModelRef { name, version } = served.pipeline.model_ref();
        write(&self.state).insert(served, keep);
        self.batcher.clear_cache();
        tracing::info!(name, version, "a model is served");
    }

    /// The folder of the models folder that is called `name`.
    pub fn folder(&self, name: &str) -> Result<PathBuf, RegistryError> {
        if is_plain_name(name) {
            return Ok(self.models.join(name));
        }
        Err(RegistryError::Name(name.to_owned()))
    }

    /// Loads the bundle that a person named on the command line: a folder of the models folder or a path.
    pub async fn load_named(&self, name: &str) -> Result<Arc<Served>, RegistryError> {
        self.load(model::resolve(&self.models, name)?, false).await
    }

    /// Serves `name` (or `name@version`) no longer. Requests that began on it end on it.
    pub fn unload(&self, name: &str) -> Result<(), RegistryError> {
        if write(&self.state).remove(name) {
            tracing::info!(name, "a model is no longer served");
            return Ok(());
        }
        Err(RegistryError::NotServed(name.to_owned()))
    }

    /// Serves no longer what was loaded from `dir`.
    pub fn unload_folder(&self, dir: &Path) {
        let from_there = self.list().into_iter().filter(|listed| listed.served.dir == dir);
        for listed in from_there {
            let ModelRef { name, version } = listed.served.pipeline.model_ref();
            if write(&self.state).remove(&format!("{name}@{version}")) {
                tracing::info!(name, version, "a model is no longer served");
            }
        }
    }

    /// Lets `alias` lead to `name`, which must be served; `None` takes the alias away.
    pub fn alias(&self, alias: &str, name: Option<&str>) -> Result<(), RegistryError> {
        let mut state = write(&self.state);
        let Some(name) = name else {
            let removed = state.aliases.remove(alias);
            return removed
                .map(drop)
                .ok_or_else(|| RegistryError::NotServed(alias.to_owned()));
        };
        if state.models.contains_key(alias) {
            return Err(RegistryError::AliasIsModel(alias.to_owned()));
        }
        if state.exact(name).is_none() {
            return Err(RegistryError::NotServed(name.to_owned()));
        }
        state.aliases.insert(alias.to_owned(), name.to_owned());
        Ok(())
    }

    /// All that is served, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let state = read(&self.state);
        let all = state
            .models
            .values()
            .flat_map(|versions| std::iter::once(&versions.current).chain(&versions.others));
        all.map(|served| Listed {
            served: Arc::clone(served),
            aliases: state
                .aliases
                .iter()
                .filter(|(_, name)| state.exact(name).is_some_and(|target| Arc::ptr_eq(target, served)))
                .map(|(alias, _)| alias.clone())
                .collect(),
        })
        .collect()
    }
}

impl State {
    fn find(&self, asked: &str) -> Option<&Arc<Served>> {
        self.exact(asked)
            .or_else(|| self.aliases.get(asked).and_then(|name| self.exact(name)))
    }

    fn exact(&self, asked: &str) -> Option<&Arc<Served>> {
        if let Some(versions) = self.models.get(asked) {
            return Some(&versions.current);
        }
        let (name, version) = asked.rsplit_once('@')?;
        let versions = self.models.get(name)?;
        std::iter::once(&versions.current)
            .chain(&versions.others)
            .find(|served| served.pipeline.manifest().version == version)
    }

    fn insert(&mut self, served: Arc<Served>, keep: bool) {
        let ModelRef { name, version } = served.pipeline.model_ref();
        let Some(versions) = self.models.get_mut(&name) else {
            let others = Vec::new();
            self.models.insert(
                name,
                Versions {
                    current: served,
                    others,
                },
            );
            return;
        };
        versions
            .others
            .retain(|other| other.pipeline.manifest().version != version);
        let old = std::mem::replace(&mut versions.current, served);
        if keep && old.pipeline.manifest().version != version {
            versions.others.push(old);
        }
    }

    /// Removes a name with all its versions, or one version of it.
    fn remove(&mut self, asked: &str) -> bool {
        if self.models.remove(asked).is_some() {
            return true;
        }
        let Some((name, version)) = asked.rsplit_once('@') else {
            return false;
        };
        let Some(versions) = self.models.get_mut(name) else {
            return false;
        };
        if versions.current.pipeline.manifest().version != version {
            let before = versions.others.len();
            versions
                .others
                .retain(|other| other.pipeline.manifest().version != version);
            return versions.others.len() < before;
        }
        match versions.others.pop() {
            Some(previous) => versions.current = previous,
            None => drop(self.models.remove(name)),
        }
        true
    }
}

/// A panic while the lock was held left the map whole: every change to it is one call.
fn read(state: &RwLock<State>) -> std::sync::RwLockReadGuard<'_, State> {
    state.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write(state: &RwLock<State>) -> std::sync::RwLockWriteGuard<'_, State> {
    state.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

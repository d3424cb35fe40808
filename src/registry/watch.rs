//! `--watch`: the models folder is what is served.
//!
//! The folder is looked at every two seconds rather than through the kernel's notifications, which network file systems and
//! bind mounts of containers don't deliver. A bundle is taken up when its signature is the same at two looks in a row, so
//! that one that is still being copied isn't read half.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Registry;
use crate::model;

const PAUSE: Duration = Duration::from_secs(2);

/// Length and time of change of every file: what differs when anything was written.
type Signature = Vec<(PathBuf, u64, Option<SystemTime>)>;

#[derive(Debug, Default)]
struct Seen {
    signature: Signature,
    /// What it was when it was last loaded, or refused.
    taken: Option<Signature>,
}

/// Follows the models folder for ever: new and changed bundles are loaded, removed ones unloaded. Folders in `loaded` are
/// taken as loaded already.
pub async fn watch(registry: Arc<Registry>, loaded: Vec<PathBuf>) {
    let mut seen: BTreeMap<PathBuf, Seen> = loaded
        .into_iter()
        .map(|dir| {
            let signature = signature(&dir);
            let taken = Some(signature.clone());
            (dir, Seen { signature, taken })
        })
        .collect();
    loop {
        tokio::time::sleep(PAUSE).await;
        look(&registry, &mut seen).await;
    }
}

async fn look(registry: &Registry, seen: &mut BTreeMap<PathBuf, Seen>) {
    let present = bundles(registry.models());
    seen.retain(|dir, _| {
        let stays = present.contains_key(dir);
        if !stays {
            registry.unload_folder(dir);
        }
        stays
    });
    for (dir, signature) in present {
        let entry = seen.entry(dir.clone()).or_default();
        let settled = entry.signature == signature;
        entry.signature = signature;
        if !settled || entry.taken.as_ref() == Some(&entry.signature) {
            continue;
        }
        entry.taken = Some(entry.signature.clone());
        let before = registry.list().into_iter().find(|listed| listed.served.dir == dir);
        match registry.load(dir.clone(), false).await {
            Ok(served) => {
                // A folder whose manifest took another name serves the old one no longer.
                let name = &served.pipeline.manifest().name;
                let old = before.map(|listed| listed.served.pipeline.manifest().name.clone());
                if let Some(old) = old.filter(|old| old != name) {
                    let _ = registry.unload(&old);
                }
            }
            Err(error) => tracing::error!(dir = %dir.display(), %error, "a bundle of the watched folder was refused"),
        }
    }
}

/// The bundles of a folder and their signatures; an unreadable folder has none, for now.
fn bundles(models: &Path) -> BTreeMap<PathBuf, Signature> {
    let dirs = model::bundles(models).unwrap_or_default();
    dirs.into_iter()
        .map(|dir| {
            let signature = signature(&dir);
            (dir, signature)
        })
        .collect()
}

fn signature(dir: &Path) -> Signature {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Signature = entries
        .map(|entry| {
            // Through links: a bundle may be one to a version's folder.
            let metadata = std::fs::metadata(entry.path()).ok();
            let length = metadata.as_ref().map_or(0, std::fs::Metadata::len);
            (
                entry.path(),
                length,
                metadata.and_then(|metadata| metadata.modified().ok()),
            )
        })
        .collect();
    files.sort();
    files
}

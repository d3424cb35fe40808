//! Puts what `tasnif --version` tells into the program: the commit and the features that it was built with.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=TASNIF_COMMIT");
    println!("cargo::rustc-env=TASNIF_COMMIT={}", commit());
    println!("cargo::rustc-env=TASNIF_FEATURES={}", features());
}

/// `TASNIF_COMMIT` where the sources come without their repository (a container's build, a package), else what git says.
fn commit() -> String {
    if let Some(commit) = std::env::var("TASNIF_COMMIT").ok().filter(|commit| !commit.is_empty()) {
        return commit;
    }
    // The log of HEAD gets a line with every commit and checkout; a package inside somebody else's repository has no .git.
    if !Path::new(".git").exists() {
        return "unknown".to_owned();
    }
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn features() -> String {
    let mut features: Vec<String> = std::env::vars()
        .filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase().replace('_', "-")))
        .filter(|feature| feature != "default")
        .collect();
    features.sort();
    if features.is_empty() {
        "none".to_owned()
    } else {
        features.join(", ")
    }
}

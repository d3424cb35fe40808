//! `tasnif models list | show | verify | pull`.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;

use crate::config::{ModelsArgs, ModelsCommand, PullArgs};
use crate::encoder::Precision;
use crate::hub::{self, ModelId, PULLED, Pulled};
use crate::model::{self, Manifest};
use crate::pipeline::Pipeline;

/// Runs one of the subcommands on the models folder.
pub fn models(args: &ModelsArgs) -> anyhow::Result<()> {
    let folder = args.folder.models();
    let mut out = io::stdout().lock();
    match &args.command {
        ModelsCommand::List => list(&folder, &mut out),
        ModelsCommand::Show { name } => show(&model::resolve(&folder, name)?, &mut out),
        ModelsCommand::Verify { names } => verify(&folder, names, &mut out),
        ModelsCommand::Pull(args) => pull(&folder, args, &mut out),
    }
}

fn bundles(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    model::bundles(folder).with_context(|| format!("can't read the models folder {}", folder.display()))
}

fn list(folder: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let rows: Vec<[String; 5]> = bundles(folder)?
        .iter()
        .map(|dir| {
            let name = dir
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            match model::describe(dir) {
                Ok(manifest) => [
                    name,
                    manifest.version.clone(),
                    tasks(&manifest),
                    format!("{:.0} MB", size(dir) as f64 / 1e6),
                    manifest.description,
                ],
                Err(error) => [
                    name,
                    "-".to_owned(),
                    "broken".to_owned(),
                    String::new(),
                    error.to_string(),
                ],
            }
        })
        .collect();
    if rows.is_empty() {
        bail!(
            "no models in {}; fetch one with `tasnif models pull`, or see models/README.md",
            folder.display()
        );
    }
    let mut widths = [0; 4];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for [name, version, tasks, size, description] in &rows {
        let [w0, w1, w2, w3] = widths;
        let line = format!("{name:<w0$}  {version:<w1$}  {tasks:<w2$}  {size:>w3$}  {description}");
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn tasks(manifest: &Manifest) -> String {
    let topics = manifest
        .topics
        .as_ref()
        .map(|topics| format!("{} topics", topics.labels.len()));
    let stance = manifest.stance.as_ref().map(|_| "stance".to_owned());
    let nli = manifest
        .nli
        .as_ref()
        .map(|_| "labels and stance by inference".to_owned());
    topics
        .into_iter()
        .chain(stance)
        .chain(nli)
        .collect::<Vec<_>>()
        .join(", ")
}

fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| fs::metadata(entry.path()).ok())
        .map(|metadata| metadata.len())
        .sum()
}

fn show(dir: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let manifest = model::describe(dir)?;
    let labels: Vec<_> = manifest
        .topics
        .iter()
        .flat_map(|topics| &topics.labels)
        .map(|label| {
            json!({
                "label": label.id, "name": label.name, "iptc": label.iptc,
                "threshold": label.threshold, "calibration": label.calibration,
            })
        })
        .collect();
    let shown = json!({
        "dir": dir, "name": manifest.name, "version": manifest.version, "description": manifest.description,
        "license": manifest.license, "base": manifest.base, "languages": manifest.languages,
        "tasks": tasks(&manifest), "topics": labels,
        "stance": manifest.stance.as_ref().map(|stance| json!({"labels": stance.labels, "calibration": stance.calibration})),
        "training": manifest.training,
        "pulled": pulled(dir)?,
    });
    writeln!(out, "{}", serde_json::to_string_pretty(&shown)?)?;
    Ok(())
}

/// Where a model came from, if it was pulled.
fn pulled(dir: &Path) -> anyhow::Result<Option<Pulled>> {
    let path = dir.join(PULLED);
    match fs::read(&path) {
        Ok(json) => Ok(Some(
            serde_json::from_slice(&json).with_context(|| format!("{} is damaged", path.display()))?,
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

fn verify(folder: &Path, names: &[String], out: &mut impl Write) -> anyhow::Result<()> {
    let dirs = if names.is_empty() {
        bundles(folder)?
    } else {
        names
            .iter()
            .map(|name| model::resolve(folder, name))
            .collect::<Result<_, _>>()?
    };
    let mut broken = 0;
    for dir in &dirs {
        match verify_one(dir) {
            Ok(what) => writeln!(out, "ok      {}: {what}", dir.display())?,
            Err(error) => {
                broken += 1;
                writeln!(out, "broken  {}: {error:#}", dir.display())?;
            }
        }
    }
    if broken > 0 {
        bail!("{broken} of {} models can't be served", dirs.len());
    }
    Ok(())
}

fn verify_one(dir: &Path) -> anyhow::Result<String> {
    if let Some(pulled) = pulled(dir)? {
        for (file, expected) in &pulled.files {
            let path = dir.join(file);
            let found = model::sha256(&path).with_context(|| format!("can't read {}", path.display()))?;
            if found != *expected {
                bail!(
                    "{} was changed since it was pulled; pull it again with --force",
                    path.display()
                );
            }
        }
    }
    let pipeline = Pipeline::load(dir, Precision::default())?;
    let manifest = pipeline.manifest();
    let hashes = match manifest.files.len() {
        0 => "no hashes".to_owned(),
        count => format!("{count} hashes"),
    };
    let tested = if dir.join("golden.jsonl").is_file() {
        "self-test passed"
    } else {
        "no self-test"
    };
    Ok(format!(
        "{} {}, {}, {hashes}, {tested}",
        manifest.name,
        manifest.version,
        tasks(manifest)
    ))
}

fn pull(folder: &Path, args: &PullArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let id = ModelId::parse(&args.id)?;
    let name = args.name.as_deref().unwrap_or_else(|| id.name());
    let settings = args.hub(io::stderr().is_terminal());
    let pulled = hub::pull(&settings, &id, folder, name, args.force)?;
    writeln!(
        out,
        "{} at commit {} is {}; serve it with `tasnif serve --model {name}`",
        pulled.id,
        pulled.commit,
        folder.join(name).display()
    )?;
    Ok(())
}

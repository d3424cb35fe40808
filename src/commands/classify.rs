//! `tasnif classify`.

use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;

use anyhow::{Context, anyhow};

use super::table;
use crate::article::{Article, Label};
use crate::batcher::Admission;
use crate::config::ClassifyArgs;

/// One article to one verdict: a table on a terminal, JSON elsewhere.
pub fn classify(args: &ClassifyArgs) -> anyhow::Result<()> {
    let article = article(args)?;
    let (batcher, pipeline) = super::start(&args.engine, &args.model)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let verdict = runtime.block_on(batcher.classify(pipeline, article.clone(), Admission::Wait))?;

    let mut out = io::stdout().lock();
    let written = if args.json || !out.is_terminal() {
        serde_json::to_writer(&mut out, &verdict)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out))
    } else {
        out.write_all(table::render(&article, &verdict).as_bytes())
    };
    match written {
        // `tasnif classify … | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("can't write the verdict"),
    }
}

/// The article of the file with what the flags add.
fn article(args: &ClassifyArgs) -> anyhow::Result<Article> {
    let name = args.file.display();
    let bytes = if args.file == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin()
            .read_to_end(&mut bytes)
            .context("can't read standard input")?;
        bytes
    } else {
        fs::read(&args.file).with_context(|| format!("can't read {name}"))?
    };
    let text = String::from_utf8(bytes).map_err(|error| {
        anyhow!(
            "{name} is not UTF-8 from byte {} on; convert it with iconv",
            error.utf8_error().valid_up_to()
        )
    })?;
    let mut article = if args.file.extension().is_some_and(|extension| extension == "json") {
        let value = serde_json::from_str(&text).with_context(|| format!("{name} is not JSON"))?;
        Article::from_json(value).with_context(|| format!("{name} is not an article"))?
    } else {
        Article {
            text,
            ..Article::default()
        }
    };
    if !args.targets.is_empty() {
        article.targets.clone_from(&args.targets);
    }
    if !args.labels.is_empty() {
        article.labels = Some(args.labels.iter().cloned().map(Label::Name).collect());
        article.hypothesis_template.clone_from(&args.hypothesis_template);
        article.multi_label = args.single_label.then_some(false);
    }
    if args.title.is_some() {
        article.title.clone_from(&args.title);
    }
    if !args.tasks.is_empty() {
        article.tasks = Some(args.tasks.iter().map(|&task| task.into()).collect());
    }
    article.top_k = args.top_k.or(article.top_k);
    article.threshold = args.threshold.or(article.threshold);
    article.evidence |= args.evidence;
    article.check().with_context(|| name.to_string())?;
    Ok(article)
}

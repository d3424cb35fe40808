//! `tasnif bench`: the whole way from text to verdict, on the caller's own articles.

use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::article::{Article, ModelRef, Verdict};
use crate::batcher::{Admission, Batcher, ClassifyError};
use crate::config::BenchArgs;
use crate::pipeline::Pipeline;

/// The figures of one run.
#[derive(Debug, Serialize)]
struct Report {
    model: ModelRef,
    threads: usize,
    articles: usize,
    /// As the verdicts count them: each article once.
    tokens: usize,
    windows: usize,
    load_s: f64,
    saturated: Saturated,
    /// One article at a time.
    alone: Latency,
    /// Of the process so far, in MB (10^6 bytes).
    peak_memory_mb: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Saturated {
    concurrency: usize,
    wall_s: f64,
    articles_per_s: f64,
    tokens_per_s: f64,
    latency: Latency,
}

#[derive(Debug, Serialize)]
struct Latency {
    articles: usize,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
}

/// What is measured.
#[derive(Debug, Clone)]
struct Engine {
    batcher: Arc<Batcher>,
    pipeline: Arc<Pipeline>,
}

impl Engine {
    async fn classify(&self, article: Article) -> Result<Verdict, ClassifyError> {
        self.batcher
            .classify(Arc::clone(&self.pipeline), article, Admission::Wait)
            .await
    }
}

/// Reads the articles one at a time for the latency, then all with many under way for the throughput.
pub fn bench(args: &BenchArgs) -> anyhow::Result<()> {
    let articles = articles(args)?;
    let begun = Instant::now();
    let (batcher, pipeline) = super::start(&args.engine, &args.model)?;
    let engine = Engine {
        batcher: Arc::new(batcher),
        pipeline,
    };
    let load = begun.elapsed();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(run(args, engine, articles, load))?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        write!(out, "{}", table(&report))?;
    }
    Ok(())
}

/// The file's articles. Fields of other systems are dropped: a benchmark file is often an export.
fn articles(args: &BenchArgs) -> anyhow::Result<Vec<Article>> {
    const KNOWN: [&str; 6] = ["id", "title", "text", "targets", "tasks", "language"];
    let name = args.file.display();
    let text = fs::read_to_string(&args.file).with_context(|| format!("can't read {name}"))?;
    let mut articles = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let mut value: Value =
            serde_json::from_str(line).with_context(|| format!("{name}, line {number}: not JSON"))?;
        if let Some(object) = value.as_object_mut() {
            object.retain(|field, _| KNOWN.contains(&field.as_str()));
        }
        articles.push(Article::from_json(value).with_context(|| format!("{name}, line {number}"))?);
    }
    if articles.is_empty() {
        bail!("{name} has no articles");
    }
    Ok(articles)
}

async fn run(args: &BenchArgs, engine: Engine, articles: Vec<Article>, load: Duration) -> anyhow::Result<Report> {
    // The first pass over fresh memory is not what anyone waits for twice.
    engine.classify(articles[0].clone()).await?;

    let step = articles.len().div_ceil(args.alone.max(1));
    let mut alone = Vec::new();
    for article in articles.iter().step_by(step).take(args.alone) {
        let begun = Instant::now();
        engine.classify(article.clone()).await?;
        alone.push(begun.elapsed());
    }

    let articles: Arc<[Article]> = articles.into();
    let next = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..args.concurrency.get() {
        callers.spawn(caller(engine.clone(), Arc::clone(&articles), Arc::clone(&next)));
    }
    let (mut latencies, mut tokens, mut windows) = (Vec::new(), 0, 0);
    while let Some(joined) = callers.join_next().await {
        for (latency, usage) in joined?? {
            latencies.push(latency);
            tokens += usage.tokens;
            windows += usage.windows;
        }
    }
    let wall = begun.elapsed().as_secs_f64();
    Ok(Report {
        model: engine.pipeline.model_ref(),
        threads: args.engine.settings().threads,
        articles: articles.len(),
        tokens,
        windows,
        load_s: load.as_secs_f64(),
        saturated: Saturated {
            concurrency: args.concurrency.get(),
            wall_s: wall,
            articles_per_s: articles.len() as f64 / wall,
            tokens_per_s: tokens as f64 / wall,
            latency: Latency::of(latencies),
        },
        alone: Latency::of(alone),
        peak_memory_mb: peak_memory_mb(),
    })
}

type Measured = (Duration, crate::article::Usage);

/// Takes the next article as long as there is one.
async fn caller(engine: Engine, articles: Arc<[Article]>, next: Arc<AtomicUsize>) -> anyhow::Result<Vec<Measured>> {
    let mut measured = Vec::new();
    while let Some(article) = articles.get(next.fetch_add(1, Ordering::Relaxed)) {
        let begun = Instant::now();
        let verdict = engine.classify(article.clone()).await?;
        measured.push((begun.elapsed(), verdict.usage));
    }
    Ok(measured)
}

impl Latency {
    /// Percentiles by nearest rank.
    fn of(mut latencies: Vec<Duration>) -> Self {
        latencies.sort();
        let percentile = |percent: usize| {
            let rank = (latencies.len() * percent).div_ceil(100).saturating_sub(1);
            latencies
                .get(rank)
                .map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
        };
        Self {
            articles: latencies.len(),
            p50_ms: percentile(50),
            p90_ms: percentile(90),
            p99_ms: percentile(99),
        }
    }
}

/// VmHWM of /proc/self/status; `None` where there is no such file.
fn peak_memory_mb() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

fn table(report: &Report) -> String {
    let Report { saturated, alone, .. } = report;
    let latency = |latency: &Latency| {
        format!(
            "p50 {:.0} ms, p90 {:.0} ms, p99 {:.0} ms",
            latency.p50_ms, latency.p90_ms, latency.p99_ms
        )
    };
    let memory = report
        .peak_memory_mb
        .map_or_else(|| "unknown".to_owned(), |memory| format!("{memory:.0} MB"));
    format!(
        "model        {} {}, loaded in {:.2} s, {} threads\n\
         articles     {} ({} tokens, {} windows)\n\
         saturated    {:.2} articles/s, {:.0} tokens/s at concurrency {}\n\
         \u{20}            {}\n\
         one by one   {} ({} articles)\n\
         peak memory  {memory}\n",
        report.model.name,
        report.model.version,
        report.load_s,
        report.threads,
        report.articles,
        report.tokens,
        report.windows,
        saturated.articles_per_s,
        saturated.tokens_per_s,
        saturated.concurrency,
        latency(&saturated.latency),
        latency(alone),
        alone.articles,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let latency = Latency::of((1..=10).rev().map(Duration::from_millis).collect());
        assert_eq!((latency.p50_ms, latency.p90_ms, latency.p99_ms), (5.0, 9.0, 10.0));
    }
}

//! `tasnif score`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::batcher::Batcher;
use crate::config::ScoreArgs;
use crate::encoder::Precision;
use crate::model;
use crate::pipeline::Pipeline;
use crate::score::{End, Input, Outcome, ScoreError, WriteError};

const FAILED: u8 = 1;
/// As clap's for wrong flags.
const REFUSED: u8 = 2;
const FINISHED_WITH_BAD_ROWS: u8 = 3;
/// As a shell says of a process that SIGINT ended.
const INTERRUPTED: u8 = 130;

/// Scores a file; the exit status tells what came of it.
pub fn score(args: &ScoreArgs) -> anyhow::Result<ExitCode> {
    let go_on = if args.settings().is_resumable() {
        "; run it again with --resume to go on"
    } else {
        ""
    };
    let out = args.output.display();
    let (code, word) = match run(args) {
        Ok(outcome) => {
            let Outcome { rows, bad, rate, end } = outcome;
            let (code, quality) = match bad {
                0 => (0, "all good".to_owned()),
                _ => (FINISHED_WITH_BAD_ROWS, format!("{bad} of them bad, with an \"error\"")),
            };
            match end {
                End::Complete => (code, format!("{out}: {rows} rows at {rate:.1} a second, {quality}")),
                End::Before => (code, format!("{out} is complete already")),
                End::Interrupted => (INTERRUPTED, format!("stopped behind row {rows}{go_on}")),
            }
        }
        Err(ScoreError::Refused(message)) => (REFUSED, format!("error: {message}")),
        // `tasnif score … - | head` is no failure.
        Err(ScoreError::Write(WriteError::Io(error))) if error.kind() == io::ErrorKind::BrokenPipe => {
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => (FAILED, format!("error: {error}{go_on}")),
    };
    // Nobody is there to be told that standard error is gone.
    let _ = writeln!(io::stderr(), "{word}");
    Ok(ExitCode::from(code))
}

fn run(args: &ScoreArgs) -> Result<Outcome, ScoreError> {
    // What is wrong with the input is told before the model is loaded for it.
    let input = Input::open(args.settings())?;
    let refused = |error: &dyn std::error::Error| ScoreError::Refused(error.to_string());
    let dir = model::resolve(&args.engine.models(), &args.model).map_err(|error| refused(&error))?;
    let pipeline = Pipeline::load(&dir, args.engine.precision()).map_err(|error| refused(&error))?;
    let mut engine = args.engine.settings();
    if args.engine.precision() == Precision::F32 {
        // The int8 encoder gives each sequence the same bits in any company; f32 products of other heights differ in the
        // last ones, and a run that goes on meets other company. A sequence alone is always the same.
        engine.batch_tokens = 1;
    }
    engine.cache_bytes = args.cache_bytes();
    let batcher = Batcher::start(engine).map_err(ScoreError::Start)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Tokenizing takes as many as encode, and the writer's end one; more are only more arenas of the allocator.
        .max_blocking_threads(engine.threads + 1)
        .build()
        .map_err(ScoreError::Start)?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = (
            signal(SignalKind::interrupt()).map_err(ScoreError::Start)?,
            signal(SignalKind::terminate()).map_err(ScoreError::Start)?,
        );
        let stop = async move {
            tokio::select! {
                _ = interrupt.recv() => (),
                _ = terminate.recv() => (),
            }
        };
        input
            .score(batcher, Arc::new(pipeline), &dir, engine.threads, stop)
            .await
    })
}

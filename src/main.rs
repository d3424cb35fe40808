//! The program: flags in, one of the commands out.

use std::process::ExitCode;

use clap::Parser;
use tasnif::config::{Cli, Command};
use tasnif::{commands, telemetry};

fn main() -> ExitCode {
    tasnif::weights::share_arenas();
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the last word of a program that failed")]
            {
                eprintln!("error: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let default = match cli.command {
        Command::Serve(_) => "info",
        _ => "warn",
    };
    let _telemetry = telemetry::start(
        cli.log_format,
        cli.log.as_deref(),
        default,
        cli.otlp_endpoint.as_deref(),
    )?;
    match cli.command {
        Command::Serve(args) => commands::serve(&args),
        Command::Classify(args) => commands::classify(&args),
        Command::Score(args) => return commands::score(&args),
        Command::Models(args) => commands::models(&args),
        Command::Health(args) => commands::health(&args),
        Command::Bench(args) => commands::bench(&args),
        Command::Key(args) => commands::key(&args),
    }?;
    Ok(ExitCode::SUCCESS)
}

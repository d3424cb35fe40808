//! `tasnif serve`.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::ServeArgs;
use crate::http::{self, Service};

/// Binds first, so that a port in use is told at once and a probe finds a live process; loads the model beside; and
/// stops on SIGTERM or SIGINT after answering what it accepted.
pub fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(args.model.settings().threads)
        .enable_all()
        .build()?
        .block_on(run(args))
}

async fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = TcpListener::bind((args.host, args.port)).await.with_context(|| {
        format!(
            "can't listen on {}:{}; choose another with --port",
            args.host, args.port
        )
    })?;
    let address = listener.local_addr()?;
    tracing::info!("listening on http://{address}");

    let service = Arc::new(Service::new(args.limits()));
    let stop = async move {
        let signal = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!("{signal}: answering what was accepted");
    };
    let server = http::serve(listener, Arc::clone(&service), stop, args.grace());
    tokio::pin!(server);

    let model = args.model.clone();
    let loading = tokio::task::spawn_blocking(move || super::start(&model));
    let batcher = tokio::select! {
        // The server ends first only by a signal while the model was loading.
        result = &mut server => return Ok(result?),
        batcher = loading => batcher??,
    };
    service.ready(Arc::clone(&batcher));
    let manifest = batcher.pipeline().manifest();
    tracing::info!(
        model = manifest.name,
        version = manifest.version,
        threads = args.model.settings().threads,
        ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        "ready: POST http://{address}/v1/classify"
    );
    server.await?;
    tokio::task::block_in_place(|| batcher.shut_down());
    tracing::info!("stopped");
    Ok(())
}

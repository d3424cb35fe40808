//! `tasnif serve`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::batcher::{Batcher, Settings};
use crate::config::ServeArgs;
use crate::http::{self, Access, Scope, Service, Tls};
use crate::registry::{self, Registry, RegistryError};

/// Binds first, so that a port in use is told at once and a probe finds a live process; loads the model beside; and
/// stops on SIGTERM or SIGINT after answering what it accepted.
pub fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(args.engine.settings().threads)
        .enable_all()
        .build()?
        .block_on(run(args))
}

async fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let access = access(args)?;
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls::load(certificate, key)?),
        _ => None,
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    if !args.address.host.is_loopback() && !access.needs_key(Scope::Classify) {
        tracing::warn!(
            "whoever reaches {} may classify: no key has that scope (tasnif key --help)",
            args.address.host
        );
    }
    let listener = TcpListener::bind((args.address.host, args.address.port))
        .await
        .with_context(|| {
            format!(
                "can't listen on {}:{}; choose another with --port",
                args.address.host, args.address.port
            )
        })?;
    let address = listener.local_addr()?;
    tracing::info!("listening on {scheme}://{address}");

    let service = Arc::new(Service::new(args.limits(), access));
    let stop = async move {
        let signal = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!("{signal}: answering what was accepted");
    };
    let server = http::serve(
        listener,
        Arc::clone(&service),
        tls,
        args.max_connections,
        stop,
        args.grace(),
    );
    tokio::pin!(server);

    let registry = Arc::new(Registry::new(
        args.engine.models(),
        args.engine.precision(),
        Batcher::start(Settings {
            cache_bytes: args.cache_bytes(),
            ..args.engine.settings()
        })?,
    ));
    let loaded = tokio::select! {
        // The server ends first only by a signal while the models were loading.
        _ = &mut server => return Ok(()),
        loaded = load(&registry, args) => loaded?,
    };
    service.ready(Arc::clone(&registry));
    tracing::info!(
        threads = args.engine.settings().threads,
        ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        "ready: POST {scheme}://{address}/v1/classify"
    );
    let watching = args
        .watch
        .then(|| tokio::spawn(registry::watch(Arc::clone(&registry), loaded)));
    let answered = server.await;
    if let Some(watching) = watching {
        watching.abort();
    }
    if !answered {
        registry.batcher().give_up();
    }
    tokio::task::block_in_place(|| registry.batcher().shut_down());
    tracing::info!("stopped");
    Ok(())
}

/// Who may do what, by flags and by the file of keys.
fn access(args: &ServeArgs) -> anyhow::Result<Access> {
    let Some(path) = &args.api_keys_file else {
        return Ok(args.access("")?);
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("can't read the keys in {}", path.display()))?;
    args.access(&text)
        .with_context(|| format!("a line of {}", path.display()))
}

/// Loads the models that the flags name; the first becomes the default unless one is called so. The answer is
/// their folders.
async fn load(registry: &Registry, args: &ServeArgs) -> Result<Vec<PathBuf>, RegistryError> {
    let (mut loaded, mut first) = (Vec::new(), None);
    for name in &args.names {
        let served = registry.load_named(name).await?;
        loaded.push(served.dir.clone());
        first.get_or_insert_with(|| served.pipeline.manifest().name.clone());
    }
    if let Some(first) = &first
        && registry
            .list()
            .iter()
            .all(|listed| listed.served.pipeline.manifest().name != registry::DEFAULT)
    {
        registry.alias(registry::DEFAULT, Some(first))?;
    }
    Ok(loaded)
}

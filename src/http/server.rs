//! Connections: accepted, limited in time and in the size of a request's head, encrypted on demand, drained at the end.
//!
//! HTTP/1.1 alone: for it, every phase in which a client can keep the service waiting has a limit here. hyper's automatic
//! choice of the protocol waits without one for a connection's first bytes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;

use super::{Service, Tls, router};

/// The largest head of a request: its line and its headers; 431 beyond it.
const HEAD_BYTES: usize = 32 << 10;

/// Serves until `stop` resolves, then answers what was accepted, for at most `grace`.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    tls: Option<Tls>,
    stop: impl Future<Output = ()>,
    grace: Duration,
) {
    let patience = service.limits.patience;
    let router = router(Arc::clone(&service));
    let connections = GracefulShutdown::new();
    tokio::pin!(stop);
    let open = |stream: TcpStream| {
        // Lines of a stream are small and must not wait for each other.
        let _ = stream.set_nodelay(true);
        let (router, watcher) = (router.clone(), connections.watcher());
        match tls.as_ref().map(Tls::acceptor) {
            None => drop(tokio::spawn(connection(stream, router, watcher, patience))),
            Some(acceptor) => drop(tokio::spawn(async move {
                if let Ok(Ok(stream)) = tokio::time::timeout(patience, acceptor.accept(stream)).await {
                    connection(stream, router, watcher, patience).await;
                }
            })),
        }
    };
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => open(stream),
                Err(error) => {
                    // Too many open files, mostly: others must end first.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    // What the kernel had accepted for us is accepted.
    while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
        open(stream);
    }
    drop(listener);
    service.drain();
    if tokio::time::timeout(grace, connections.shutdown()).await.is_err() {
        tracing::warn!(
            seconds = grace.as_secs(),
            "requests were still open after the grace period"
        );
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + 'static,
    router: axum::Router,
    watcher: hyper_util::server::graceful::Watcher,
    patience: Duration,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(patience));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // From the last answer on: it limits an idle connection too.
        .header_read_timeout(patience)
        .max_header_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router));
    // Its errors are the client's: it left, was too slow, or didn't speak HTTP.
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended");
    }
}

//! Connections: accepted, limited in number, in time and in the size of a request's head, encrypted on demand, drained at
//! the end.
//!
//! HTTP/1.1 alone: for it, every phase in which a client can keep the service waiting has a limit here. hyper's automatic
//! choice of the protocol waits without one for a connection's first bytes.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SetOnce, watch};
use tokio_io_timeout::TimeoutStream;

use super::{Service, Tls, router};

/// The largest head of a request: its line and its headers; 431 beyond it.
const HEAD_BYTES: usize = 32 << 10;

/// How long a connection that was just accepted has for its request when the service ends: hyper closes one that it has read
/// nothing from, and its client would be left without an answer.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// Serves until `stop` resolves, then answers what was accepted, for at most `grace`; returns whether that was enough. Of
/// connections, so many are open at a time; those beyond wait in the kernel's queue.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    tls: Option<Tls>,
    connections: NonZeroUsize,
    stop: impl Future<Output = ()>,
    grace: Duration,
) -> bool {
    let patience = service.limits.patience;
    let router = router(Arc::clone(&service));
    // Each connection holds a receiver: they are told to end by a value, and all have ended when all are gone.
    let (ending, told) = watch::channel(false);
    tokio::pin!(stop);
    let room = Arc::new(Semaphore::new(connections.get().min(Semaphore::MAX_PERMITS)));
    let mut full = false;
    let open = |stream: TcpStream, permit| {
        let place = Place::take(&service.metrics.connections, permit);
        // Lines of a stream are small and must not wait for each other.
        let _ = stream.set_nodelay(true);
        let (router, told) = (router.clone(), told.clone());
        match tls.as_ref().map(Tls::acceptor) {
            None => drop(tokio::spawn(connection(stream, place, router, told, patience))),
            Some(acceptor) => drop(tokio::spawn(async move {
                if let Ok(Ok(stream)) = tokio::time::timeout(patience, acceptor.accept(stream)).await {
                    connection(stream, place, router, told, patience).await;
                }
            })),
        }
    };
    loop {
        let accept = async {
            let permit = permit(&room, &mut full).await;
            (listener.accept().await, permit)
        };
        tokio::select! {
            () = &mut stop => break,
            (accepted, permit) = accept => match accepted {
                Ok((stream, _)) => open(stream, permit),
                Err(error) => {
                    // Too many open files, mostly: others must end first.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    // What the kernel had accepted for us is accepted, room or no: its queue is short, and nothing comes after it.
    while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
        open(stream, None);
    }
    drop(listener);
    service.drain();
    let _ = ending.send(true);
    drop(told);
    let answered = tokio::time::timeout(grace, ending.closed()).await.is_ok();
    if !answered {
        tracing::warn!(
            seconds = grace.as_secs(),
            "requests were still open after the grace period"
        );
    }
    answered
}

/// Room for one more connection, waited for if need be. The log tells the first time: whoever asks how often looks at the
/// figures.
async fn permit(room: &Arc<Semaphore>, full: &mut bool) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(room).try_acquire_owned() {
        return Some(permit);
    }
    if !std::mem::replace(full, true) {
        tracing::warn!("as many connections are open as --max-connections allows: further ones wait until one ends");
    }
    // The semaphore is never closed.
    Arc::clone(room).acquire_owned().await.ok()
}

/// What a connection holds as long as it is open: its room, and its part in the figures.
struct Place {
    open: Gauge,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Place {
    fn take(open: &Gauge, permit: Option<OwnedSemaphorePermit>) -> Self {
        open.inc();
        Self {
            open: open.clone(),
            _permit: permit,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// `_place` is given back when the stream is closed.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + 'static,
    _place: Place,
    router: axum::Router,
    mut told: watch::Receiver<bool>,
    patience: Duration,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(patience));
    let begun = SetOnce::new();
    let router = TowerToHyperService::new(router);
    let answer = service_fn(|request| {
        let _ = begun.set(());
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // From the last answer on: it limits an idle connection too.
        .header_read_timeout(patience)
        .max_header_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(Box::pin(stream)), answer);
    tokio::pin!(connection);
    let to_end = async {
        // The sender outlives all connections.
        let _ = told.wait_for(|ending| *ending).await;
        let _ = tokio::time::timeout(FIRST_REQUEST, begun.wait()).await;
    };
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = to_end => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // Its errors are the client's: it left, was too slow, or didn't speak HTTP.
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended");
    }
}

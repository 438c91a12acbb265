//! The accept loop: bounded connections, one task each, a graceful end.
//!
//! Invariants: a connection over the bound is answered (503), not left waiting; after the shutdown signal nothing new is
//! accepted, requests that are under way finish within the grace period, live streams end at once.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tower::Service as _;

use crate::app::App;
use crate::guard::{Guard, check_listen};
use crate::linger::Patient;
use crate::options::{Options, Parts};
use crate::routes;

/// Serves `parts` on `listener` until `shutdown` is ready, then lets what is under way finish. The log itself goes on:
/// stopping it (which finishes what was accepted) is up to the caller, afterwards.
///
/// # Errors
/// When the listener has no address, or one that [`check_listen`] refuses (`PermissionDenied`). Failures of single
/// connections end only those.
pub async fn serve(
    listener: TcpListener,
    parts: Parts,
    options: Options,
    shutdown: impl Future,
) -> io::Result<()> {
    let addr = listener.local_addr()?;
    check_listen(addr, options.allow_unauthenticated)
        .map_err(|refused| io::Error::new(io::ErrorKind::PermissionDenied, refused))?;
    let app = App::new(parts, &options);
    let front = Front {
        router: routes::router(Arc::clone(&app)),
        guard: Guard::for_listener(addr),
    };
    let mut connections = Connections::new(front, &options, app.shutdown());
    connections.accept_until(listener, shutdown).await;
    app.begin_shutdown();
    connections.finish(options.shutdown_grace).await;
    Ok(())
}

/// What every connection talks to.
#[derive(Clone)]
struct Front {
    router: Router,
    guard: Guard,
}

impl hyper::service::Service<Request<Incoming>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        tracing::debug!(method = %request.method(), path = request.uri().path(), "request");
        if let Err(refusal) = self.guard.check(&request) {
            let response = refusal.closing().into_response();
            return Box::pin(async { Ok(response) });
        }
        // A router is always ready, and its clone shares everything.
        Box::pin(self.router.clone().call(request.map(Body::new)))
    }
}

struct Connections {
    front: Front,
    http: http1::Builder,
    stall_timeout: Duration,
    room: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    shutdown: watch::Receiver<bool>,
    tasks: JoinSet<()>,
}

impl Connections {
    fn new(front: Front, options: &Options, shutdown: watch::Receiver<bool>) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(options.header_read_timeout)
            .max_headers(options.headers_max)
            .max_buf_size(options.head_bytes_max.max(8 * 1024));
        Self {
            front,
            http,
            stall_timeout: options.write_stall_timeout,
            room: Arc::new(Semaphore::new(options.connections_max)),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            shutdown,
            tasks: JoinSet::new(),
        }
    }

    async fn accept_until(&mut self, listener: TcpListener, shutdown: impl Future) {
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                _ = &mut shutdown => return,
                Some(ended) = self.tasks.join_next() => {
                    report(ended);
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.start(stream, peer),
                Err(error) => pause_after(&error).await,
            }
        }
    }

    fn start(&mut self, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "the connection was gone before it began");
            return;
        }
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
            let stream = Patient::new(stream, self.stall_timeout);
            let connection = self
                .http
                .serve_connection(TokioIo::new(stream), self.front.clone());
            self.tasks
                .spawn(run(connection, self.shutdown.clone(), peer, permit));
        } else if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
            self.tasks.spawn(refuse(stream, permit));
        }
    }

    async fn finish(mut self, grace: Duration) {
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                report(ended);
            }
        };
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::warn!(
                connections = self.tasks.len(),
                "connections that did not finish in time are cut"
            );
            self.tasks.shutdown().await;
        }
    }
}

type Connection = http1::Connection<TokioIo<Patient<TcpStream>>, Front>;

async fn run(
    connection: Connection,
    mut shutdown: watch::Receiver<bool>,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stopping(&mut shutdown) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
    drop(permit);
}

/// Until the server stops; for ever if that can not happen any more.
async fn stopping(shutdown: &mut watch::Receiver<bool>) {
    if shutdown.wait_for(|stopping| *stopping).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Connections over the bound that are answered at the same time; those over this bound, too, are just closed.
const REFUSALS_MAX: usize = 64;

const TOO_MANY_CONNECTIONS: &str = concat!(
    "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n",
    "connection: close\r\ncontent-length: 156\r\n\r\n",
    r#"{"type":"urn:annals:problem:busy","title":"Busy","status":503,"detail":"too many connections; try again in a "#,
    r#"second","outcome":"not_stored"}                "#,
);

async fn refuse(stream: TcpStream, permit: OwnedSemaphorePermit) {
    const PATIENCE: Duration = Duration::from_secs(2);
    let mut stream = Patient::new(stream, PATIENCE);
    let answer = async {
        stream.write_all(TOO_MANY_CONNECTIONS.as_bytes()).await?;
        stream.shutdown().await
    };
    if let Err(error) = answer.await {
        tracing::debug!(%error, "a connection over the bound was gone before it was refused");
    }
    drop(permit);
}

/// Most accept errors concern one connection; those about resources would come again at once.
async fn pause_after(error: &io::Error) {
    let of_one_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    );
    if !of_one_connection {
        tracing::warn!(%error, "can not accept connections");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_of_a_connection_has_the_length_that_it_states() {
        let (head, body) = TOO_MANY_CONNECTIONS.split_once("\r\n\r\n").unwrap();
        assert_eq!(head.rsplit_once(": ").unwrap().1, body.len().to_string());
        assert!(serde_json::from_str::<annals_api::Problem>(body).is_ok());
    }
}

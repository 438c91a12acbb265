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

use annals_api::names;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::Service as _;

use crate::app::App;
use crate::guard::{Guard, check_listen};
use crate::heads::{Answer, Heads, Turn, Wire};
use crate::linger::Patient;
use crate::options::{Options, Parts};
use crate::problem::{Kind, Refusal};
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
        turn: Turn::default(),
    };
    let mut connections = Connections::new(front, &options, app.shutdown());
    connections.accept_until(listener, shutdown).await;
    app.begin_shutdown();
    connections.finish(options.shutdown_grace).await;
    Ok(())
}

/// What a connection talks to.
#[derive(Clone)]
struct Front {
    router: Router,
    guard: Guard,
    turn: Turn,
}

impl Front {
    fn of_connection(&self, turn: Turn) -> Self {
        Self { turn, ..self.clone() }
    }

    /// The guard's word on a request, about events when it was to bring some.
    fn check(&self, request: &Request<Incoming>) -> Result<(), Refusal> {
        let path = request.uri().path();
        let is_of_a_log = path == names::EVENTS || path.starts_with(names::LOGS);
        let is_append = request.method() == Method::POST && is_of_a_log && path.ends_with(names::EVENTS);
        self.guard
            .check(request)
            .map_err(Refusal::closing)
            .map_err(|refusal| {
                if is_append {
                    refusal.nothing_stored()
                } else {
                    refusal
                }
            })
    }
}

impl hyper::service::Service<Request<Incoming>> for Front {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let answering = self.turn.begin();
        tracing::debug!(method = %request.method(), path = request.uri().path(), "request");
        // A router is always ready, and its clone shares everything.
        let answer = self
            .check(&request)
            .map(|()| self.router.clone().call(request.map(Body::new)));
        Box::pin(async {
            let response = match answer {
                Ok(routed) => routed.await?,
                Err(refusal) => refusal.into_response(),
            };
            Ok(response.map(|body| Answer {
                body,
                _answering: answering,
            }))
        })
    }
}

struct Connections {
    front: Front,
    heads: Arc<Heads>,
    stall_timeout: Duration,
    room: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    shutdown: watch::Receiver<bool>,
    tasks: JoinSet<()>,
}

impl Connections {
    fn new(front: Front, options: &Options, shutdown: watch::Receiver<bool>) -> Self {
        Self {
            front,
            heads: Arc::new(Heads::new(options)),
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
        let heads = Arc::clone(&self.heads);
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
            let turn = Turn::default();
            let wire = Wire::new(Patient::new(stream, self.stall_timeout), turn.clone());
            let connection = heads
                .http
                .serve_connection(TokioIo::new(wire), self.front.of_connection(turn));
            let shutdown = self.shutdown.clone();
            self.tasks.spawn(async move {
                if let Err(error) = run(connection, &heads, shutdown).await {
                    tracing::debug!(%peer, %error, "a connection ended early");
                }
                drop(permit);
            });
        } else if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
            self.tasks.spawn(async move {
                if let Err(error) = refuse(stream, &heads).await {
                    tracing::debug!(%peer, %error, "a connection over the bound was gone before it was refused");
                }
                drop(permit);
            });
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

type Connection = http1::Connection<TokioIo<Wire<Patient<TcpStream>>>, Front>;

async fn run(
    mut connection: Connection,
    heads: &Heads,
    mut shutdown: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = stopping(&mut shutdown) => {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    let parts = connection.into_parts();
    heads.refuse(parts.io.into_inner(), ended, &parts.read_buf).await
}

/// Until the server stops; for ever if that can not happen any more.
async fn stopping(shutdown: &mut watch::Receiver<bool>) {
    if shutdown.wait_for(|stopping| *stopping).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Connections over the bound that are answered at the same time; those over this bound, too, are just closed.
const REFUSALS_MAX: usize = 64;

async fn refuse(stream: TcpStream, heads: &Heads) -> hyper::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let detail = "too many connections; try again in a second";
    heads
        .tell(Patient::new(stream, PATIENCE), Kind::Busy, detail)
        .await
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

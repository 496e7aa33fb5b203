//! `/metrics`, `/healthz` and `/readyz`.
//!
//! With a `DaemonSet` on the host's network the old and the new daemon may overlap for a moment, and the port is still taken
//! when the new one starts: binding is tried again until it works, and nothing else waits for it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Metrics;

const BIND_AGAIN: Duration = Duration::from_secs(1);
/// How long open connections may take to end.
const GRACE: Duration = Duration::from_secs(1);
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Figures that can be shown at `/metrics`.
pub trait Figures: Clone + Send + Sync + 'static {
    /// All figures in the text format of `OpenMetrics` 1.0.
    fn render(&self) -> String;
}

impl Figures for Metrics {
    fn render(&self) -> String {
        Self::render(self)
    }
}

/// Serves at `address` until `cancel`. An address that cannot be had is reported once in the log and tried each second.
///
/// `ready` is asked at each `/readyz`; its error is the reason that people read (status 503). `/healthz` answers as long as
/// the runtime of the program works.
pub async fn serve<M, R, F>(address: SocketAddr, metrics: M, ready: R, cancel: CancellationToken)
where
    M: Figures,
    R: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let bound = async {
        let mut told = false;
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(error) if told => drop(error),
                Err(error) => {
                    tracing::warn!(%address, %error, "cannot listen for metrics, trying each second; is the port taken?");
                    told = true;
                }
            }
            tokio::time::sleep(BIND_AGAIN).await;
        }
    };
    if let Some(listener) = cancel.run_until_cancelled(bound).await {
        serve_on(listener, metrics, ready, cancel).await;
    }
}

/// As [`serve`], on a listener that is bound already.
pub async fn serve_on<M, R, F>(
    listener: TcpListener,
    metrics: M,
    ready: R,
    cancel: CancellationToken,
) where
    M: Figures,
    R: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let figures = move || async move { ([(header::CONTENT_TYPE, OPENMETRICS)], metrics.render()) };
    let readiness = move || async move {
        match ready().await {
            Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
            Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
        }
        .into_response()
    };
    let pages = Router::new()
        .route("/metrics", get(figures))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness));
    let server = axum::serve(listener, pages)
        .with_graceful_shutdown(cancel.clone().cancelled_owned())
        .into_future();
    let too_long = async {
        cancel.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        ended = server => if let Err(error) = ended {
            tracing::warn!(%error, "the server of metrics ended");
        },
        () = too_long => {}
    }
}

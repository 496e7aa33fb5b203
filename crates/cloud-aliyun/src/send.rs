//! The one place that does IO with the cloud: a request goes out, an answer with its whole body comes back.
//!
//! Kept-alive HTTP/1.1 connections, no redirects, no proxies, no repetition. The client below repeats a request only when a
//! kept connection turned out closed *before* the request was written to it, which the cloud cannot notice. What matters to
//! callers is the difference between [`SendError::NotSent`] (the cloud knows nothing of it) and [`SendError::Lost`].

use std::{error::Error, path::Path, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::net::TcpStream;
use tower::{
    BoxError,
    timeout::{TimeoutLayer, error::Elapsed},
    util::BoxCloneSyncService,
};

use crate::tls;
pub use crate::tls::TrustError;

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Name resolution, TCP and TLS together. Default 3 s.
    pub connect: Duration,
    /// The whole call, from the first byte out to the last byte in. Default 15 s.
    pub call: Duration,
    /// Largest body that is read, in bytes. Default 16 MiB.
    pub body_limit: usize,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            call: Duration::from_secs(15),
            body_limit: 16 * 1024 * 1024,
        }
    }
}

/// Idle connections are closed after this, before the servers' side does it (a request that meets the close is lost).
const IDLE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No connection: nothing was sent.
    #[error("no connection: {cause}")]
    NotSent {
        /// Short word: `ConnectFailed` or `ConnectTimeout`.
        code: &'static str,
        /// Cause.
        cause: String,
    },
    /// Something was sent and no whole answer came.
    #[error("no answer: {cause}")]
    Lost {
        /// Short word: `Timeout`, `ConnectionLost`, `TornAnswer` or `AnswerTooLarge`.
        code: &'static str,
        /// Cause.
        cause: String,
    },
}

/// An answer with its whole body.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

type Connection = MaybeHttpsStream<TokioIo<TcpStream>>;
type Connector = BoxCloneSyncService<Uri, Connection, BoxError>;

/// A pool of connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sender {
    client: Client<Connector, Full<Bytes>>,
    timeouts: Timeouts,
}

impl Sender {
    /// A sender that trusts the machine's authorities and those of `ca_file`.
    pub fn new(timeouts: Timeouts, ca_file: Option<&Path>) -> Result<Self, TrustError> {
        let tls = tls::client_config(ca_file)?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp());
        Ok(Self::over(connector_with_limit(connector, timeouts.connect), timeouts))
    }

    /// A sender for plain HTTP alone, for the metadata service.
    pub fn plain(timeouts: Timeouts) -> Self {
        let connector = tower::util::MapResponse::new(tcp(), MaybeHttpsStream::Http);
        Self::over(connector_with_limit(connector, timeouts.connect), timeouts)
    }

    fn over(connector: Connector, timeouts: Timeouts) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(4)
            .build(connector);
        Self { client, timeouts }
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Answer, SendError> {
        match tokio::time::timeout(self.timeouts.call, self.exchange(request)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(SendError::Lost {
                code: "Timeout",
                cause: format!("nothing whole within {:?}", self.timeouts.call),
            }),
        }
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Answer, SendError> {
        let answer = self.client.request(request.map(Full::new)).await.map_err(|e| {
            let cause = causes(&e);
            if !e.is_connect() {
                return SendError::Lost { code: "ConnectionLost", cause };
            }
            let timed_out = chain(&e).any(<dyn Error>::is::<Elapsed>);
            let code = if timed_out { "ConnectTimeout" } else { "ConnectFailed" };
            SendError::NotSent { code, cause }
        })?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, self.timeouts.body_limit).collect().await.map_err(|e| {
            let code = if e.is::<LengthLimitError>() { "AnswerTooLarge" } else { "TornAnswer" };
            SendError::Lost { code, cause: causes(e.as_ref()) }
        })?;
        Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(Duration::from_secs(30)));
    tcp
}

/// Bounds name resolution, TCP and TLS together (the connector's own limit covers TCP only).
fn connector_with_limit<S>(connector: S, limit: Duration) -> Connector
where
    S: tower::Service<Uri, Response = Connection> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + 'static,
{
    BoxCloneSyncService::new(tower::Layer::layer(&TimeoutLayer::new(limit), connector))
}

/// The error and its causes, outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |e: &&'a (dyn Error + 'static)| (*e).source())
}

/// The chain of causes in one line.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = chain(error).map(ToString::to_string).collect();
    parts.dedup();
    parts.join(": ")
}

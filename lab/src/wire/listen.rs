//! Accept loops: plain HTTP/1.1, TLS, and the Unix control socket, all for one kind of handler.
#![expect(
    clippy::infinite_loop,
    reason = "an accept loop ends with its task, when the runtime does"
)]

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::incoming::Incoming;

/// Largest body.
const LIMIT: usize = 1 << 20;

/// An answer: HTTP status, content type, extra headers, body. `None` closes the connection without one.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Content type.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// Hops that it may go, when that is limited: the connection's packets carry this TTL from now on.
    pub ttl: Option<u32>,
    /// Body.
    pub body: String,
}

impl Answer {
    fn new(status: u16, content_type: &'static str, body: String) -> Self {
        Self { status, content_type, headers: Vec::new(), ttl: None, body }
    }

    /// A JSON answer.
    pub fn json(status: u16, body: String) -> Self {
        Self::new(status, "application/json;charset=utf-8", body)
    }

    /// An XML answer.
    pub fn xml(status: u16, body: String) -> Self {
        Self::new(status, "text/xml;charset=UTF-8", body)
    }

    /// A text answer.
    pub fn text(status: u16, body: String) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }
}

/// The future of an answer.
pub type Answering = Pin<Box<dyn Future<Output = Option<Answer>> + Send>>;

/// Turns a request from an address into an answer.
pub type Handler = Arc<dyn Fn(Incoming, IpAddr) -> Answering + Send + Sync>;

/// The connection ends without an answer, as ordered.
#[derive(Debug, thiserror::Error)]
#[error("the answer is thrown away on purpose")]
struct Lost;

/// Serves plain HTTP on a listener for ever.
pub async fn serve(listener: TcpListener, handler: Handler) -> Infallible {
    loop {
        let Some((stream, peer)) = accepted(listener.accept().await).await else { continue };
        // A second handle to the same socket, for its TTL: the HTTP server owns the first one.
        let socket = stream.as_fd().try_clone_to_owned().map(std::net::TcpStream::from).ok();
        let limit: Limit = Arc::new(move |ttl| {
            // What cannot be limited goes on as it is.
            socket.as_ref().map(|s| s.set_ttl(ttl)).transpose().unwrap_or_default();
        });
        tokio::spawn(connection(stream, peer.ip(), Arc::clone(&handler), limit));
    }
}

/// Serves HTTPS on a listener for ever.
pub async fn serve_tls(listener: TcpListener, tls: TlsAcceptor, handler: Handler) -> Infallible {
    loop {
        let Some((stream, peer)) = accepted(listener.accept().await).await else { continue };
        let (tls, handler) = (tls.clone(), Arc::clone(&handler));
        tokio::spawn(async move {
            // A client that breaks the handshake only harms itself.
            if let Ok(stream) = tls.accept(stream).await {
                connection(stream, peer.ip(), handler, Arc::new(|_| {})).await;
            }
        });
    }
}

/// Serves HTTP on a Unix socket for ever.
pub async fn serve_unix(listener: UnixListener, handler: Handler) -> Infallible {
    loop {
        let Some((stream, _)) = accepted(listener.accept().await).await else { continue };
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        tokio::spawn(connection(stream, peer, Arc::clone(&handler), Arc::new(|_| {})));
    }
}

/// A failed accept (out of files) must not spin.
async fn accepted<S, A>(result: io::Result<(S, A)>) -> Option<(S, A)> {
    if result.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    result.ok()
}

/// Limits the hops of a connection's packets.
type Limit = Arc<dyn Fn(u32) + Send + Sync>;

async fn connection<S>(stream: S, peer: IpAddr, handler: Handler, limit: Limit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (handler, limit) = (Arc::clone(&handler), Arc::clone(&limit));
        async move { one(request, peer, handler, limit).await }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .preserve_header_case(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // Broken connections are the client's business, lost answers were ordered.
    drop(served);
}

async fn one(
    request: Request<hyper::body::Incoming>,
    peer: IpAddr,
    handler: Handler,
    limit: Limit,
) -> Result<Response<Full<Bytes>>, Lost> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, LIMIT).collect().await else {
        return Ok(respond(Answer::text(413, "request body too large\n".to_owned())));
    };
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let incoming = Incoming {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        raw_query: head.uri.query().unwrap_or_default().to_owned(),
        headers,
        body: body.to_bytes().to_vec(),
    };
    match handler(incoming, peer).await {
        Some(answer) => {
            if let Some(ttl) = answer.ttl {
                limit(ttl);
            }
            Ok(respond(answer))
        }
        None => Err(Lost),
    }
}

fn respond(answer: Answer) -> Response<Full<Bytes>> {
    let mut builder =
        Response::builder().status(answer.status).header("content-type", answer.content_type);
    for (name, value) in answer.headers {
        builder = builder.header(name, value);
    }
    builder.body(Full::new(Bytes::from(answer.body))).unwrap_or_default()
}

/// Hands a listener of the standard library to tokio.
pub fn adopt(listener: std::net::TcpListener) -> io::Result<(TcpListener, SocketAddr)> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((TcpListener::from_std(listener)?, address))
}

//! The HTTP/1.1 server that the scheduler asks: keep-alive, answers with Content-Length and no trailing byte, limits for
//! everything that a client can make large or slow.
//!
//! The scheduler holds one connection for filter and prioritize, and opens many short ones for binds.

mod body;
mod pace;
mod tls;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::state::State;
use crate::verbs::{self, Answer, Verb};
use body::Bodies;
use pace::{Pace, Paced};

pub(crate) use tls::acceptor;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 1024;
/// The handshake of TLS.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long open requests may take to end.
const GRACE: Duration = Duration::from_secs(10);
/// For the request line and headers of one request, and of parsing them.
const HEAD_BYTES: usize = 64 * 1024;

/// Serves until `cancel`, then lets open requests end.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    state: Arc<State>,
    cancel: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let bodies = Arc::new(Bodies::default());
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, slot)) = accepted else { continue };
        let (state, bodies, cancel, tls) =
            (Arc::clone(&state), Arc::clone(&bodies), cancel.clone(), tls.clone());
        tasks.spawn(async move {
            match tls {
                None => connection(stream, state, bodies, cancel).await,
                Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                    Ok(Ok(stream)) => connection(stream, state, bodies, cancel).await,
                    Ok(Err(error)) => tracing::debug!(%error, "a client failed the handshake"),
                    Err(_elapsed) => tracing::debug!("a client was too slow for the handshake"),
                },
            }
            drop(slot);
        });
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
}

type Slot = tokio::sync::OwnedSemaphorePermit;

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, Slot)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Answers are small and awaited.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection keeps its delay");
            }
            Some((stream, slot))
        }
        Err(error) => {
            // Out of descriptors, most likely: trying again at once would spin.
            tracing::warn!(%error, "a connection cannot be accepted");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn connection<S>(stream: S, state: Arc<State>, bodies: Arc<Bodies>, cancel: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pace = Arc::new(Pace::default());
    let io = TokioIo::new(Paced::new(stream, Arc::clone(&pace)));
    let service = service_fn(|request| {
        let (state, bodies, pace) = (Arc::clone(&state), Arc::clone(&bodies), Arc::clone(&pace));
        async move { Ok::<_, Infallible>(respond(&state, &bodies, &pace, request).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    // Time limits are ours: see `pace`.
    http.max_buf_size(HEAD_BYTES).header_read_timeout(None).half_close(true);
    let mut connection = std::pin::pin!(http.serve_connection(io, service));
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = pace.too_slow() => return,
            () = cancel.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn respond(
    state: &Arc<State>,
    bodies: &Bodies,
    pace: &Pace,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let began = Instant::now();
    let (answer, verb, whole) = answer(state, bodies, pace, request).await;
    pace.answered();
    state.metrics.answered(verb.map_or("unknown", Verb::word), answer.outcome, began.elapsed());
    let status = answer.status;
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == 405 {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    if !whole {
        // What is left of the body is not read: the connection cannot go on.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The answer, the verb, and whether the body was read to its end.
async fn answer(
    state: &Arc<State>,
    bodies: &Bodies,
    pace: &Pace,
    request: Request<Incoming>,
) -> (Answer, Option<Verb>, bool) {
    let empty = hyper::body::Body::is_end_stream(request.body());
    let Some(verb) = Verb::of_path(request.uri().path()) else {
        let text = "there is no such verb: filter, prioritize, preempt and bind are served";
        return (Answer::error(404, text), None, empty);
    };
    if request.method() != Method::POST {
        let text = format!("{} is asked with POST", verb.word());
        return (Answer::error(405, &text), Some(verb), empty);
    }
    let body = match bodies.read(request.into_body()).await {
        Ok(body) => body,
        Err(error) => {
            return (Answer::error(error.status(), &error.to_string()), Some(verb), false);
        }
    };
    pace.answering();
    let answer = match verb {
        Verb::Bind => verbs::bind(Arc::clone(state), &body).await,
        Verb::Filter | Verb::Prioritize | Verb::Preempt => match state.ready() {
            Ok(()) => verbs::answer(&state.books, verb, &body),
            Err(missing) => Answer::error(503, &missing),
        },
    };
    (answer, Some(verb), true)
}

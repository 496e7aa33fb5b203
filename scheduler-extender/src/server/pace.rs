//! Limits for slow clients. From the first byte of a request to its last there are some seconds; a connection that says
//! nothing at all may wait longer than the scheduler's client keeps one (90 s), so that it is always the client who closes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// For a whole request.
const REQUEST: u64 = 5_000;
/// For the first request of a connection.
const FIRST: u64 = 30_000;
/// Between two requests.
const IDLE: u64 = 150_000;
const LOOK: Duration = Duration::from_millis(500);
/// No limit: the request is being answered.
const NEVER: u64 = u64::MAX;

/// When a connection must be ended.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    /// Milliseconds after `began`.
    deadline: AtomicU64,
    /// Nothing of the next request has come.
    waiting: std::sync::atomic::AtomicBool,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            deadline: AtomicU64::new(FIRST),
            waiting: std::sync::atomic::AtomicBool::new(true),
        }
    }
}

impl Pace {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(NEVER - IDLE)
    }

    /// Bytes came: a request has begun, if none was under way.
    fn heard(&self) {
        if self.waiting.swap(false, Ordering::Relaxed) {
            self.deadline.store(self.now() + REQUEST, Ordering::Relaxed);
        }
    }

    /// The request is whole: how long the answer takes is up to us.
    pub(super) fn answering(&self) {
        self.deadline.store(NEVER, Ordering::Relaxed);
    }

    /// The answer is ready; the client may be slow to take it, and then to ask again.
    pub(super) fn answered(&self) {
        self.deadline.store(self.now() + IDLE, Ordering::Relaxed);
        self.waiting.store(true, Ordering::Relaxed);
    }

    /// Ends when the connection must.
    pub(super) async fn too_slow(&self) {
        while self.now() < self.deadline.load(Ordering::Relaxed) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A stream that tells its pace.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    pace: Arc<Pace>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, pace: Arc<Pace>) -> Self {
        Self { stream, pace }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.pace.heard();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

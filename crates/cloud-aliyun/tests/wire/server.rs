//! A server that answers as told, byte by byte. It ends with the test.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

/// One request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Received {
    fn parse(head: &str) -> Self {
        let mut lines = head.lines();
        let mut first = lines.next().unwrap().split(' ');
        let pair = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Self {
            method: first.next().unwrap().into(),
            target: first.next().unwrap().into(),
            headers: lines.filter(|l| !l.is_empty()).map(pair).collect(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn action(&self) -> &str {
        self.header("x-acs-action").unwrap_or_default()
    }
}

/// What the server does with a request.
pub(crate) enum Reply {
    /// Writes this and keeps the connection.
    Keep(Vec<u8>),
    /// Writes this and closes.
    Close(Vec<u8>),
    /// Writes nothing and keeps the connection.
    Hang,
    /// Writes one byte of this every now and then.
    Drip(Vec<u8>, Duration),
    /// Writes this head and then zeros without end.
    Endless(Vec<u8>),
}

impl Reply {
    /// A whole answer with these headers (each with its line end).
    pub(crate) fn with(status: u16, headers: &str, body: &str) -> Self {
        Self::Keep(whole(status, headers, body))
    }

    pub(crate) fn ok(body: &str) -> Self {
        Self::with(200, "", body)
    }

    pub(crate) fn error(status: u16, code: &str) -> Self {
        let body = format!(r#"{{"Code":"{code}","Message":"told by the test","RequestId":"R-1"}}"#);
        Self::with(status, "", &body)
    }
}

pub(crate) fn whole(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

type Handler = dyn Fn(usize, &Received) -> Reply + Send + Sync;

/// The server. The handler gets the number of the request (from 0) and the request.
pub(crate) struct Server {
    port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(
        handler: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(handler, None).await
    }

    pub(crate) async fn start_with(
        handler: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static,
        tls: Option<tokio_rustls::TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let handler: Arc<Handler> = Arc::new(handler);
        let (log, count) = (Arc::clone(&received), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (handler, log, tls) = (Arc::clone(&handler), Arc::clone(&log), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &*handler, &log).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &*handler, &log).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, received, connections, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    handler: &Handler,
    log: &Mutex<Vec<Received>>,
) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at;
            }
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk).await {
                Ok(n) if n > 0 => buffer.extend_from_slice(&chunk[..n]),
                Ok(_) | Err(_) => return,
            }
        };
        let request = Received::parse(std::str::from_utf8(&buffer[..end]).unwrap());
        buffer.drain(..end + 4);
        let number = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            log.len() - 1
        };
        let written = match handler(number, &request) {
            Reply::Keep(bytes) => stream.write_all(&bytes).await,
            Reply::Close(bytes) => {
                let end = stream.write_all(&bytes).await;
                return drop(end.and(stream.shutdown().await));
            }
            Reply::Hang => std::future::pending().await,
            Reply::Drip(bytes, pause) => {
                for byte in bytes {
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                }
                Ok(())
            }
            Reply::Endless(head) => {
                let mut end = stream.write_all(&head).await;
                while end.is_ok() {
                    end = stream.write_all(&[b'0'; 8192]).await;
                }
                end
            }
        };
        if written.is_err() {
            return;
        }
    }
}

//! A server that answers every request with the same bytes. It ends with the test.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What the server does with a request.
#[derive(Clone)]
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
    /// An error that repeats the session token of the request.
    Tell,
}

impl Reply {
    pub(crate) fn with(status: u16, body: &str) -> Self {
        Self::Keep(whole(status, body))
    }

    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        Self::with(
            status,
            &format!(
                "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>R-1</RequestID></Response>"
            ),
        )
    }
}

pub(crate) fn whole(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

pub(crate) struct Server {
    port: u16,
    /// Heads of the requests.
    received: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&received);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, reply.clone(), Arc::clone(&log)));
            }
        });
        Self { port, received, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }
}

async fn serve(mut stream: TcpStream, reply: Reply, log: Arc<Mutex<Vec<String>>>) {
    while let Some(head) = request(&mut stream).await {
        log.lock().unwrap().push(head.clone());
        let written = match reply.clone() {
            Reply::Keep(bytes) => stream.write_all(&bytes).await,
            Reply::Close(bytes) => {
                let end = stream.write_all(&bytes).await;
                return drop(end.and(stream.shutdown().await));
            }
            Reply::Hang => std::future::pending().await,
            Reply::Drip(bytes, pause) => drip(&mut stream, &bytes, pause).await,
            Reply::Endless(head) => {
                let mut end = stream.write_all(&head).await;
                while end.is_ok() {
                    end = stream.write_all(&[b'0'; 8192]).await;
                }
                end
            }
            Reply::Tell => {
                let token = header(&head, "x-amz-security-token").unwrap();
                let text = format!("the canonical string was {token}");
                let Reply::Keep(bytes) = Reply::error(403, "SignatureDoesNotMatch", &text) else {
                    return;
                };
                stream.write_all(&bytes).await
            }
        };
        if written.is_err() {
            return;
        }
    }
}

async fn drip(stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> std::io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let pairs = head.lines().filter_map(|line| line.split_once(':'));
    pairs.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
}

/// The head of the next request; its body is read, too.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = header(&head, "content-length").map_or(0, |text| text.parse().unwrap());
    stream.read_exact(&mut vec![0; length]).await.ok()?;
    Some(head)
}

//! A running extender in front of an API server, and a client that writes bytes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tideway_extender::Running;
use tideway_extender::config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::api::Api;

pub(crate) struct Bed {
    pub(crate) api: Arc<Api>,
    pub(crate) running: Running,
    pub(crate) cancel: CancellationToken,
    pub(crate) files: TempDir,
}

/// An answer of HTTP.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The text of an error; whatever is wrong, there is one.
    pub(crate) fn error(&self) -> String {
        let error = self.json()["Error"].as_str().expect("an error has a text").to_owned();
        assert!(!error.is_empty());
        error
    }
}

const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for a condition.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{what}: not in 20 s"));
}

pub(crate) fn node_network(name: &str, shared: u32, exclusive: u32) -> Value {
    json!({
        "apiVersion": "tideway.dev/v1alpha1", "kind": "NodeNetwork", "metadata": {"name": name},
        "status": {
            "instance": {"id": name, "type": "t", "zone": "z"},
            "adapters": {"limit": exclusive, "free": exclusive, "freeForShared": 0},
            "shared": {"capacity": shared, "held": shared, "ready": shared},
            "exclusive": {"offered": exclusive}, "podsResourceVersion": "100000", "cooldownMillis": 1000,
        },
    })
}

pub(crate) fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")},
        "spec": {"containers": [{"name": "c"}]}, "status": {"phase": "Pending"},
    })
}

impl Bed {
    /// `extra` are lines of the configuration.
    pub(crate) async fn with(extra: &str, nodes: &[Value]) -> Self {
        let bed = Self::start(extra, nodes, true).await;
        until("ready", || async { bed.get("/readyz").await.status == 200 }).await;
        bed
    }

    /// Does not wait until it is ready; `lists`: the API server answers them.
    pub(crate) async fn start(extra: &str, nodes: &[Value], lists: bool) -> Self {
        let (api, address) = Api::start().await;
        api.lists.send_replace(lists);
        for node in nodes {
            api.put("nodenetworks", node.clone(), false);
            api.put("nodes", json!({"metadata": {"name": node["metadata"]["name"]}}), false);
        }
        let files = TempDir::new().unwrap();
        let kubeconfig = files.path().join("kubeconfig");
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {}}],
        });
        std::fs::write(&kubeconfig, text.to_string()).unwrap();
        let kubeconfig = kubeconfig.display();
        let text = format!(
            "listen: 127.0.0.1:0\nhttp: 127.0.0.1:0\nkubeconfig: {kubeconfig}\ncautionSeconds: 0\n{extra}\n"
        );
        let config = Config::parse(&text, "test").unwrap();
        let cancel = CancellationToken::new();
        let running = tideway_extender::run(config, cancel.clone()).await.unwrap();
        Self { api, running, cancel, files }
    }

    pub(crate) async fn new(nodes: &[Value]) -> Self {
        Self::with("", nodes).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        exchange(self.running.http, request.as_bytes()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        exchange(self.running.listen, &request("POST", path, body)).await
    }

    /// Asks filter.
    pub(crate) async fn filter(&self, pod: &Value, names: &[&str]) -> Value {
        let args = json!({"Pod": pod, "Nodes": null, "NodeNames": names});
        let reply = self.post("/filter", &args.to_string()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

pub(crate) fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// One request on a connection of its own; reads one answer.
pub(crate) async fn exchange(address: SocketAddr, request: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may answer and close before it has read everything.
    drop(stream.write_all(request).await);
    reply(&mut stream).await.expect("an answer")
}

/// Reads one answer by its Content-Length; none when the server closed.
pub(crate) async fn reply<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> Option<Reply> {
    let read = async {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
                let length = head.lines().find_map(|l| {
                    let (name, value) = l.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length")
                        .then(|| value.trim().parse::<usize>().unwrap())
                });
                let whole = end + 4 + length.expect("every answer has a Content-Length");
                if bytes.len() >= whole {
                    assert_eq!(bytes.len(), whole, "nothing follows an answer");
                    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                    let body = String::from_utf8(bytes[end + 4..].to_vec()).unwrap();
                    return Some(Reply { status, head, body });
                }
            }
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            }
        }
    };
    tokio::time::timeout(DEADLINE, read).await.expect("an answer or an end within 20 s")
}

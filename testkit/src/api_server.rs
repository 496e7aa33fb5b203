//! A Kubernetes API server of a test's own: the routes that it needs over plain HTTP on loopback, how it refuses, and the
//! kubeconfig that leads there.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use axum::{
    Router,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// A kubeconfig in a directory of its own, which goes with it.
#[derive(Debug)]
pub struct Kubeconfig {
    dir: TempDir,
}

impl Kubeconfig {
    /// Leads to this address, whether somebody listens there or not.
    pub fn to(address: SocketAddr) -> io::Result<Self> {
        let made = Self { dir: tempfile::tempdir()? };
        write_kubeconfig(&made.file(), &json!({"server": format!("http://{address}")}))?;
        Ok(made)
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// Path of the file.
    pub fn path(&self) -> String {
        self.file().display().to_string()
    }
}

/// Writes a kubeconfig of this one cluster: `server`, and what TLS needs.
pub fn write_kubeconfig(path: &Path, cluster: &Value) -> io::Result<()> {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "it", "user": {}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    });
    std::fs::write(path, config.to_string())
}

/// Serves these routes until the test's runtime ends.
pub async fn serve(routes: Router) -> io::Result<Kubeconfig> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let kubeconfig = Kubeconfig::to(listener.local_addr()?)?;
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(kubeconfig)
}

/// A `Status` that tells a failure.
pub fn status(code: StatusCode, reason: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("{reason}, says the test"), "reason": reason, "code": code.as_u16(),
    })
}

/// The answer to a request that is refused.
pub fn refusal(code: StatusCode, reason: &str) -> Response {
    (code, status(code, reason).to_string()).into_response()
}

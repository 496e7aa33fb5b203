//! Talks to the control socket of a running lab.

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::place::Place;

/// A GET with a JSON answer.
pub(crate) fn get(place: &Place, path: &str) -> Result<Value> {
    send(place, "GET", path, "")
}

/// Any request with a JSON answer.
pub(crate) fn send(place: &Place, method: &str, path: &str, body: &str) -> Result<Value> {
    let text = text(place, method, path, body)?;
    serde_json::from_str(&text).context("the lab's answer is no JSON")
}

/// Any request; an error status becomes an error with the lab's text.
pub(crate) fn text(place: &Place, method: &str, path: &str, body: &str) -> Result<String> {
    let socket = place.control_socket();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stream = UnixStream::connect(&socket).await.with_context(|| {
            format!(
                "lab {} does not run ({}); start it with `tideway-lab up --id {}`",
                place.id,
                socket.display(),
                place.id
            )
        })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "lab")
            .body(Full::new(Bytes::from(body.to_owned())))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        driver.abort();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if !status.is_success() {
            bail!("the lab refused: {text}");
        }
        Ok(text)
    })
}

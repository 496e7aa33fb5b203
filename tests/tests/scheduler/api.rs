//! A small client of the API server: JSON calls and watches, with a client certificate, over connections that are kept.
//!
//! `kubectl` is a process for each call; thousands of pods and a fake kubelet for each node need more than that.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response, body::Incoming, header::CONTENT_TYPE};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::Value;

/// Longest time of one call.
const LIMIT: Duration = Duration::from_secs(30);

/// Why a call gave no object.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The server's answer.
    Status(u16, String),
    /// There was none.
    Lost(String),
}

impl Refusal {
    /// Whether the server has said so with this status.
    pub(crate) fn is(&self, code: u16) -> bool {
        matches!(self, Self::Status(status, _) if *status == code)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(code, text) => write!(f, "{code}: {text}"),
            Self::Lost(text) => write!(f, "no answer: {text}"),
        }
    }
}

impl std::error::Error for Refusal {}

/// The client.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    server: String,
}

impl Api {
    /// With the certificates of `pki`, as the user whose files are called `user`.
    pub(crate) fn new(server: &str, pki: &Path, user: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(pki.join("ca.crt"))?)?;
        let chain = CertificateDer::pem_file_iter(pki.join(format!("{user}.crt")))?;
        let chain = chain.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(pki.join(format!("{user}.key")))?;
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, server: server.to_owned() })
    }

    /// One call; `body` of a PATCH is a merge patch.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refusal> {
        let whole = async {
            let answer = self.send(method, path, body).await?;
            let status = answer.status().as_u16();
            let bytes = answer.into_body().collect().await.map_err(lost)?.to_bytes();
            let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            if (200..300).contains(&status) {
                return Ok(value);
            }
            let said = value.get("message").and_then(Value::as_str);
            let said =
                said.map_or_else(|| String::from_utf8_lossy(&bytes).into_owned(), Into::into);
            Err(Refusal::Status(status, said))
        };
        tokio::time::timeout(LIMIT, whole).await.unwrap_or_else(|late| Err(lost(late)))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, Refusal> {
        let merge = method == Method::PATCH;
        let kind = if merge { "application/merge-patch+json" } else { "application/json" };
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server))
            .header(CONTENT_TYPE, kind)
            .body(Full::new(Bytes::from(bytes)))
            .map_err(lost)?;
        self.client.request(request).await.map_err(lost)
    }

    /// Reads an object or a list.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Refusal> {
        self.call(Method::GET, path, None).await
    }

    /// Follows a list from a version on.
    pub(crate) async fn watch(&self, path: &str, version: &str) -> Result<Events, Refusal> {
        let path = format!("{path}?watch=1&allowWatchBookmarks=true&resourceVersion={version}");
        let answer = self.send(Method::GET, &path, None).await?;
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(Refusal::Status(status, "the watch was refused".into()));
        }
        Ok(Events { body: answer.into_body(), read: BytesMut::new() })
    }
}

fn lost(error: impl std::error::Error) -> Refusal {
    let cause = error.source().map(|s| format!(": {s}")).unwrap_or_default();
    Refusal::Lost(format!("{error}{cause}"))
}

/// The events of one watch.
#[derive(Debug)]
pub(crate) struct Events {
    body: Incoming,
    read: BytesMut,
}

impl Events {
    /// The next one; none: the server ended the watch.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(end) = self.read.iter().position(|b| *b == b'\n') {
                let line = self.read.split_to(end);
                self.read.advance(1);
                return serde_json::from_slice(&line).map(Some).context("an event of a watch");
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            if let Ok(data) = frame?.into_data() {
                self.read.extend_from_slice(&data);
            }
        }
    }
}

//! A small client of its own: blocking, one connection for each request, both signature schemes.
#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code, shared by test programs that use parts of it"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// What came back.
#[derive(Debug)]
pub(crate) struct Response {
    /// HTTP status.
    pub(crate) status: u16,
    /// Whole head.
    pub(crate) head: String,
    /// Body.
    pub(crate) body: String,
}

impl Response {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A key pair.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

impl Key {
    pub(crate) fn test() -> Self {
        Self { id: "testid".to_owned(), secret: "testsecret".to_owned(), token: None }
    }
}

fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let escaped = format!("%{byte:02X}");
            out.push_str(&escaped);
        }
    }
    out
}

fn canonical(params: &[(&str, &str)]) -> String {
    let sorted: BTreeMap<&str, &str> = params.iter().copied().collect();
    let parts: Vec<String> =
        sorted.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
    parts.join("&")
}

fn date() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn nonce() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// The whole text of an ACS3 request.
pub(crate) fn v3(
    method: &str,
    host: &str,
    key: &Key,
    action: &str,
    params: &[(&str, &str)],
) -> String {
    let version = if action.contains("VSwitch") || action.contains("Vpc") {
        "2016-04-28"
    } else {
        "2014-05-26"
    };
    let content = hex::encode(Sha256::digest(b""));
    let mut headers = BTreeMap::from([
        ("host", host.to_owned()),
        ("x-acs-action", action.to_owned()),
        ("x-acs-content-sha256", content.clone()),
        ("x-acs-date", date()),
        ("x-acs-signature-nonce", nonce()),
        ("x-acs-version", version.to_owned()),
    ]);
    if let Some(token) = &key.token {
        headers.insert("x-acs-security-token", token.clone());
    }
    let block: Vec<String> = headers.iter().map(|(k, v)| format!("{k}:{v}\n")).collect();
    let block = block.concat();
    let names: Vec<&str> = headers.keys().copied().collect();
    let names = names.join(";");
    let query = canonical(params);
    let request = format!("{method}\n/\n{query}\n{block}\n{names}\n{content}");
    let text = format!("ACS3-HMAC-SHA256\n{}", hex::encode(Sha256::digest(request.as_bytes())));
    let mac = Hmac::<Sha256>::new_from_slice(key.secret.as_bytes()).unwrap();
    let signature = hex::encode(mac.chain_update(text.as_bytes()).finalize().into_bytes());
    let lines: Vec<String> = headers.iter().map(|(k, v)| format!("{k}: {v}\r\n")).collect();
    let lines = lines.concat();
    format!(
        "{method} /?{query} HTTP/1.1\r\n{lines}authorization: ACS3-HMAC-SHA256 Credential={},\
         SignedHeaders={names},Signature={signature}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        key.id
    )
}

/// The whole text of an RPC v1 request; with `form`, parameters go into the body.
pub(crate) fn v1(
    method: &str,
    key: &Key,
    action: &str,
    params: &[(&str, &str)],
    form: bool,
) -> String {
    let (date, nonce) = (date(), nonce());
    let mut all = params.to_vec();
    all.extend([
        ("Action", action),
        ("Version", "2014-05-26"),
        ("Format", "JSON"),
        ("AccessKeyId", &key.id),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureVersion", "1.0"),
        ("SignatureNonce", &nonce),
        ("Timestamp", &date),
    ]);
    if let Some(token) = &key.token {
        all.push(("SecurityToken", token));
    }
    let text = format!("{method}&%2F&{}", encode(&canonical(&all)));
    let mac = Hmac::<Sha1>::new_from_slice(format!("{}&", key.secret).as_bytes()).unwrap();
    let signature = STANDARD.encode(mac.chain_update(text.as_bytes()).finalize().into_bytes());
    all.push(("Signature", &signature));
    let pairs = canonical(&all);
    if form {
        return format!(
            "{method} / HTTP/1.1\r\nhost: lab\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{pairs}",
            pairs.len()
        );
    }
    format!(
        "{method} /?{pairs} HTTP/1.1\r\nhost: lab\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
}

/// Sends a text and reads the answer; `None` when the connection closes without one.
pub(crate) fn exchange(mut stream: impl Read + Write, text: &str) -> Option<Response> {
    stream.write_all(text.as_bytes()).unwrap();
    stream.flush().unwrap();
    let mut bytes = Vec::new();
    // A TLS peer may end without saying goodbye; what was read counts.
    let ended = stream.read_to_end(&mut bytes);
    drop(ended);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Response { status, head: head.to_owned(), body: body.to_owned() })
}

/// Connects to `http://ADDRESS:PORT`, sends a text, reads the answer.
pub(crate) fn send(endpoint: &str, text: &str) -> Option<Response> {
    exchange(TcpStream::connect(endpoint.trim_start_matches("http://")).unwrap(), text)
}

/// One signed call (ACS3, POST).
pub(crate) fn call(
    endpoint: &str,
    key: &Key,
    action: &str,
    params: &[(&str, &str)],
) -> Option<Response> {
    let host = endpoint.trim_start_matches("http://");
    let mut all = vec![("RegionId", "cn-hangzhou")];
    all.extend(params);
    send(endpoint, &v3("POST", host, key, action, &all))
}

/// A plain request without a body.
pub(crate) fn plain(endpoint: &str, method: &str, path: &str, headers: &str) -> Option<Response> {
    let text = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n"
    );
    send(endpoint, &text)
}

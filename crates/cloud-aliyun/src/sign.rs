//! ACS3-HMAC-SHA256: how Alibaba Cloud wants requests signed.
//!
//! Rules: "V3 request body & signature" of the `OpenAPI` documentation. The canonical request is method, path, sorted query,
//! signed header lines (each with its line end, so an empty line follows), their names, and the body's hash; the signature
//! is an HMAC over its hash. There is no derived key and no date scope. Every header that we set is signed.
//!
//! Pure: date and nonce come in as arguments.

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderValue, Request, header};
use sha2::{Digest, Sha256};
use tideway_model::UnixMillis;

use crate::{AccessKey, ApiRequest, Endpoint};

/// Name of the scheme, as it opens the `Authorization` header and the string to sign.
pub const SCHEME: &str = "ACS3-HMAC-SHA256";

/// How we introduce ourselves; signed like every header.
/// How we name ourselves.
pub(crate) const USER_AGENT: &str = concat!("tideway/", env!("CARGO_PKG_VERSION"));

/// Why a request cannot be written: a defect of configuration, such as a line break in a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the request cannot be written: {0}; check region, endpoint and access key for odd characters"
)]
pub struct Unwritable(String);

/// A moment as `x-acs-date` wants it: UTC, whole seconds, `2026-11-22T00:51:57Z`.
pub fn acs_date(at: UnixMillis) -> String {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(0);
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// The string to sign: scheme and hash of the canonical request.
///
/// `query` is canonical already; `headers` are lower case, trimmed and sorted by name.
pub fn string_to_sign(
    method: &str,
    query: &str,
    headers: &[(&str, &str)],
    body_sha256: &str,
) -> String {
    let lines: String =
        headers.iter().flat_map(|(name, value)| [*name, ":", *value, "\n"]).collect();
    let names = signed_names(headers);
    let canonical = format!("{method}\n/\n{query}\n{lines}\n{names}\n{body_sha256}");
    format!("{SCHEME}\n{}", hex::encode(Sha256::digest(canonical)))
}

/// The signature of a string to sign: lower-case hex.
pub fn signature(secret: &str, string_to_sign: &str) -> String {
    // HMAC takes keys of every length, so this cannot fail; an empty signature would simply be refused.
    let Ok(mut mac) = <Hmac<Sha256>>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(string_to_sign.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

fn signed_names(headers: &[(&str, &str)]) -> String {
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    names.join(";")
}

/// Writes and signs a request. `nonce` must never come twice within the validity of a date (15 minutes).
pub fn signed(
    request: &ApiRequest,
    endpoint: &Endpoint,
    key: &AccessKey,
    date: &str,
    nonce: &str,
) -> Result<Request<Bytes>, Unwritable> {
    let body = Bytes::new();
    let body_sha256 = hex::encode(Sha256::digest(&body));
    let query = request.query();
    let mut headers = vec![
        ("accept", "application/json"),
        ("host", endpoint.authority()),
        ("user-agent", USER_AGENT),
        ("x-acs-action", request.action),
        ("x-acs-content-sha256", body_sha256.as_str()),
        ("x-acs-date", date),
        ("x-acs-signature-nonce", nonce),
        ("x-acs-version", request.api.version()),
    ];
    if let Some(token) = &key.token {
        headers.push(("x-acs-accesskey-id", &key.id));
        headers.push(("x-acs-security-token", token.expose()));
    }
    headers.sort_unstable();
    let to_sign = string_to_sign("POST", &query, &headers, &body_sha256);
    let authorization = format!(
        "{SCHEME} Credential={},SignedHeaders={},Signature={}",
        key.id,
        signed_names(&headers),
        signature(key.secret.expose(), &to_sign)
    );

    let mut builder = Request::post(format!("{endpoint}/?{query}"));
    for (name, value) in headers {
        builder = builder.header(name, value_of(name, value)?);
    }
    builder
        .header(header::AUTHORIZATION, value_of("authorization", &authorization)?)
        .body(body)
        .map_err(|e| Unwritable(e.to_string()))
}

/// A header value; the ones that open doors are marked, so that `Debug` of the request does not show them.
fn value_of(name: &str, value: &str) -> Result<HeaderValue, Unwritable> {
    let mut out = HeaderValue::from_str(value).map_err(|_why| {
        Unwritable(format!("header {name} has characters that it must not have"))
    })?;
    out.set_sensitive(matches!(name, "authorization" | "x-acs-security-token"));
    Ok(out)
}

#[cfg(test)]
mod tests;

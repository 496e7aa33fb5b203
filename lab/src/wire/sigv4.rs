//! AWS Signature Version 4 of the EC2 query API, recomputed from what came in: `AWS4-HMAC-SHA256` in the Authorization
//! header over method, path, query, the listed headers and the body. Documented by AWS as "Create a signed AWS API request".

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::encoding::{authorization_field, canonical_query};
use super::gate::Admitted;
use super::incoming::Incoming;
use super::keys::{KeyTrouble, Keys};
use crate::cloud::clock::{Millis, parse_iso8601};
use crate::cloud::error::ApiError;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How far a date may be off.
const WINDOW: Millis = 15 * 60 * 1000;

/// A signature as it was sent, and what it must be of.
#[derive(Debug, Clone)]
pub struct Signed {
    /// Access key id.
    pub key_id: String,
    /// Security token, if sent.
    pub token: Option<String>,
    /// Time of the signature, `20260131T120000Z`.
    pub date: String,
    /// Date, region, service and `aws4_request` that the key is bound to.
    pub scope: [String; 4],
    sent: String,
    string_to_sign: String,
}

fn incomplete(what: &str) -> ApiError {
    ApiError::new(400, "IncompleteSignature", format!("The signature has no valid {what}"))
}

/// Wrong key, wrong secret, wrong scope: EC2 does not tell which.
fn not_valid() -> ApiError {
    ApiError::new(
        401,
        "AuthFailure",
        "AWS was not able to validate the provided access credentials",
    )
}

fn expired() -> ApiError {
    ApiError::new(400, "RequestExpired", "Request has expired.")
}

/// Checks a request; the answer says what it wants. The region must be the lab's.
pub fn admit(
    request: &Incoming,
    keys: &Keys,
    region: &str,
    now: Millis,
) -> Result<Admitted, ApiError> {
    let signed = Signed::read(request)?;
    let [_, signed_region, service, _] = &signed.scope;
    if signed_region != region || service != "ec2" {
        return Err(not_valid());
    }
    let secret =
        keys.secret(&signed.key_id, signed.token.as_deref(), now).map_err(
            |trouble| match trouble {
                KeyTrouble::Expired => expired(),
                KeyTrouble::Unknown
                | KeyTrouble::NoTokenWanted
                | KeyTrouble::TokenMissing
                | KeyTrouble::TokenWrong => not_valid(),
            },
        )?;
    let date = time(&signed.date).ok_or_else(|| incomplete("date"))?;
    if date.abs_diff(now) > WINDOW {
        return Err(expired());
    }
    if !signed.fits(secret) {
        return Err(not_valid());
    }
    let mut params = request.query();
    params.extend(request.form());
    let find = |name: &str| {
        let found = params.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        found.ok_or_else(|| {
            let message = format!("The request must contain the parameter {name}");
            ApiError::new(400, "MissingParameter", message)
        })
    };
    let (action, version) = (find("Action")?, find("Version")?);
    Ok(Admitted { key_id: signed.key_id, action, version, params })
}

/// Reads `20260131T120000Z`.
fn time(text: &str) -> Option<Millis> {
    let part = |range: std::ops::Range<usize>| text.get(range);
    let shaped = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0..4)?,
        part(4..6)?,
        part(6..8)?,
        part(9..11)?,
        part(11..13)?,
        part(13..15)?
    );
    (text.len() == 16).then(|| parse_iso8601(&shaped)).flatten()
}

impl Signed {
    /// Reads the signature of a request.
    pub fn read(request: &Incoming) -> Result<Self, ApiError> {
        let authorization = request.header("authorization").ok_or_else(|| {
            ApiError::new(
                403,
                "MissingAuthenticationToken",
                "Request is missing Authentication Token",
            )
        })?;
        let fields =
            authorization.strip_prefix(ALGORITHM).ok_or_else(|| incomplete("algorithm"))?;
        let field = |name: &str| {
            authorization_field(fields, name).map(str::to_owned).ok_or_else(|| incomplete(name))
        };
        let credential = field("Credential")?;
        let parts: Vec<&str> = credential.split('/').collect();
        let &[key_id, day, region, service, end] = parts.as_slice() else {
            return Err(incomplete("Credential"));
        };
        let date = request
            .header("x-amz-date")
            .map(str::to_owned)
            .ok_or_else(|| incomplete("x-amz-date"))?;
        if end != "aws4_request" || !date.starts_with(day) {
            return Err(incomplete("Credential"));
        }
        let names = field("SignedHeaders")?;
        let listed: Vec<&str> = names.split(';').collect();
        // Without these the signature protects nothing.
        if !["host", "x-amz-date"].iter().all(|name| listed.contains(name)) || !listed.is_sorted() {
            return Err(incomplete("SignedHeaders"));
        }
        let token = request.header("x-amz-security-token").map(str::to_owned);
        if token.is_some() && !listed.contains(&"x-amz-security-token") {
            return Err(incomplete("SignedHeaders"));
        }
        let mut block = String::new();
        for name in &listed {
            let value = request.signed_value(name).ok_or_else(|| incomplete("SignedHeaders"))?;
            let words: Vec<&str> = value.split_ascii_whitespace().collect();
            block.extend([name, ":", &words.join(" "), "\n"]);
        }
        let path = if request.path.is_empty() { "/" } else { &request.path };
        let content = hex::encode(Sha256::digest(&request.body));
        let query = canonical_query(&request.query());
        let canonical =
            [request.method.as_str(), path, &query, &block, &names, &content].join("\n");
        let hash = hex::encode(Sha256::digest(canonical.as_bytes()));
        let scope = [day, region, service, end].map(str::to_owned);
        Ok(Self {
            key_id: key_id.to_owned(),
            token,
            string_to_sign: format!("{ALGORITHM}\n{date}\n{}\n{hash}", scope.join("/")),
            date,
            scope,
            sent: field("Signature")?,
        })
    }

    /// Whether the signature was made with this secret.
    pub fn fits(&self, secret: &str) -> bool {
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in &self.scope {
            let Ok(mac) = Hmac::<Sha256>::new_from_slice(&key) else { return false };
            key = mac.chain_update(part.as_bytes()).finalize().into_bytes().to_vec();
        }
        let sent = hex::decode(&self.sent).unwrap_or_default();
        Hmac::<Sha256>::new_from_slice(&key).is_ok_and(|mac| {
            mac.chain_update(self.string_to_sign.as_bytes()).verify_slice(&sent).is_ok()
        })
    }
}

#[cfg(test)]
mod tests;

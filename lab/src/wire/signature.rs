//! The two signature schemes, recomputed from what came in.
//!
//! v3: `ACS3-HMAC-SHA256` in the Authorization header over method, path, query, the listed headers and the body hash.
//! v1: `Signature` among the parameters, HMAC-SHA1 over all of them. Documented by Alibaba Cloud as "request syntax and
//! signature method V3" and "RPC mechanism".

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::encoding::{authorization_field, canonical_query, encode};
use super::incoming::Incoming;
use crate::cloud::error::ApiError;

/// What a request claims about itself, and what the server makes of it.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Access key id.
    pub key_id: String,
    /// Security token, if sent.
    pub token: Option<String>,
    /// The date as sent.
    pub date: String,
    /// The nonce as sent.
    pub nonce: String,
    /// Action.
    pub action: String,
    /// API version.
    pub version: String,
    /// Parameters of the action.
    pub params: Vec<(String, String)>,
    sent: String,
    scheme: Scheme,
    string_to_sign: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    V1,
    V3,
}

fn incomplete(what: &str) -> ApiError {
    ApiError::new(
        400,
        "IncompleteSignature",
        format!("The request signature is not complete: {what} is missing or not signed."),
    )
}

/// Parameters of a v1 request that are no parameters of its action. Some are new in each request: a repetition by client
/// token is told by the others.
const V1_OWN: [&str; 10] = [
    "AccessKeyId",
    "Action",
    "Format",
    "SecurityToken",
    "SignatureMethod",
    "SignatureNonce",
    "SignatureType",
    "SignatureVersion",
    "Timestamp",
    "Version",
];

/// Headers without which a v3 signature protects nothing.
const V3_SIGNED: [&str; 6] = [
    "host",
    "x-acs-action",
    "x-acs-content-sha256",
    "x-acs-date",
    "x-acs-signature-nonce",
    "x-acs-version",
];

impl Claim {
    /// Reads the signature of a request, whichever scheme it has.
    pub fn read(request: &Incoming) -> Result<Self, ApiError> {
        match request.header("authorization") {
            Some(value) if value.starts_with("ACS3-HMAC-SHA256") => Self::read_v3(request, value),
            Some(_) => Err(ApiError::new(
                400,
                "InvalidSignatureMethod",
                "Only ACS3-HMAC-SHA256 is understood in the Authorization header.",
            )),
            None => Self::read_v1(request),
        }
    }

    fn read_v3(request: &Incoming, authorization: &str) -> Result<Self, ApiError> {
        let fields = authorization.strip_prefix("ACS3-HMAC-SHA256").unwrap_or_default();
        let field = |name: &str| {
            authorization_field(fields, name).map(str::to_owned).ok_or_else(|| incomplete(name))
        };
        let key_id = field("Credential")?;
        let signed = field("SignedHeaders")?;
        let sent = field("Signature")?;
        let names: Vec<&str> = signed.split(';').collect();
        if let Some(name) = V3_SIGNED.iter().find(|name| !names.contains(name)) {
            return Err(incomplete(name));
        }
        if !names.is_sorted() {
            return Err(incomplete("SignedHeaders in sorted order"));
        }
        let header =
            |name: &str| request.header(name).map(str::to_owned).ok_or_else(|| incomplete(name));
        let content = header("x-acs-content-sha256")?;
        if !content.eq_ignore_ascii_case(&hex::encode(Sha256::digest(&request.body))) {
            return Err(ApiError::new(
                400,
                "SignatureDoesNotMatch",
                "The value of x-acs-content-sha256 is not the hash of the body.",
            ));
        }
        let token = request.header("x-acs-security-token").map(str::to_owned);
        if token.is_some() && !names.contains(&"x-acs-security-token") {
            return Err(incomplete("x-acs-security-token"));
        }
        let mut block = String::new();
        for name in &names {
            let value = request.signed_value(name).ok_or_else(|| incomplete(name))?;
            block.extend([name, ":", &value, "\n"]);
        }
        let path = if request.path.is_empty() { "/" } else { &request.path };
        let query = request.query();
        let canonical =
            [request.method.as_str(), path, &canonical_query(&query), &block, &signed, &content]
                .join("\n");
        let hash = hex::encode(Sha256::digest(canonical.as_bytes()));
        let mut params = query;
        params.extend(request.form());
        Ok(Self {
            key_id,
            token,
            date: header("x-acs-date")?,
            nonce: header("x-acs-signature-nonce")?,
            action: header("x-acs-action")?,
            version: header("x-acs-version")?,
            params,
            sent,
            scheme: Scheme::V3,
            string_to_sign: format!("ACS3-HMAC-SHA256\n{hash}"),
        })
    }

    fn read_v1(request: &Incoming) -> Result<Self, ApiError> {
        let mut params = request.query();
        params.extend(request.form());
        let find =
            |name: &str| params.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let need =
            |name: &str| find(name).filter(|v| !v.is_empty()).ok_or_else(|| incomplete(name));
        let sent = need("Signature")?;
        if need("SignatureMethod")? != "HMAC-SHA1" || need("SignatureVersion")? != "1.0" {
            return Err(ApiError::new(
                400,
                "InvalidSignatureMethod",
                "Only HMAC-SHA1 with SignatureVersion 1.0 is understood among the parameters.",
            ));
        }
        let rest: Vec<(String, String)> =
            params.iter().filter(|(key, _)| key != "Signature").cloned().collect();
        let string_to_sign = format!("{}&%2F&{}", request.method, encode(&canonical_query(&rest)));
        let of_action =
            rest.into_iter().filter(|(key, _)| !V1_OWN.contains(&key.as_str())).collect();
        Ok(Self {
            key_id: need("AccessKeyId")?,
            token: find("SecurityToken").filter(|t| !t.is_empty()),
            date: need("Timestamp")?,
            nonce: need("SignatureNonce")?,
            action: find("Action").ok_or_else(|| ApiError::missing("Action"))?,
            version: find("Version").ok_or_else(|| ApiError::missing("Version"))?,
            params: of_action,
            sent,
            scheme: Scheme::V1,
            string_to_sign,
        })
    }

    /// Whether the signature was made with this secret.
    pub fn check(&self, secret: &str) -> Result<(), ApiError> {
        let text = self.string_to_sign.as_bytes();
        let right = match self.scheme {
            Scheme::V3 => hex::decode(&self.sent).ok().is_some_and(|sent| {
                Hmac::<Sha256>::new_from_slice(secret.as_bytes())
                    .is_ok_and(|mac| mac.chain_update(text).verify_slice(&sent).is_ok())
            }),
            Scheme::V1 => STANDARD.decode(&self.sent).ok().is_some_and(|sent| {
                Hmac::<Sha1>::new_from_slice(format!("{secret}&").as_bytes())
                    .is_ok_and(|mac| mac.chain_update(text).verify_slice(&sent).is_ok())
            }),
        };
        if right {
            return Ok(());
        }
        Err(ApiError::new(
            400,
            "SignatureDoesNotMatch",
            format!(
                "The request signature does not match. Server string to sign is: {}",
                self.string_to_sign
            ),
        ))
    }
}

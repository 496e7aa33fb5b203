//! A role for a service account (RRSA): the token that the kubelet keeps in a file is exchanged for keys at the token
//! service (STS 2015-04-01, `AssumeRoleWithOIDC`).
//!
//! The call is not signed: the token says who calls. It goes in the body, so that no proxy writes it down with the URL, and
//! the file is read for every exchange, since the kubelet renews it.

use std::path::PathBuf;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use serde::Deserialize;
use tideway_model::UnixMillis;

use super::{CredentialError, HeldKey, file_key};
use crate::{
    Endpoint, Secret,
    request::canonical_query,
    send::{Answer, Sender},
    sign,
};

const VERSION: &str = "2015-04-01";
const ACTION: &str = "AssumeRoleWithOIDC";
/// Life that is asked for, in seconds; the role may allow less.
const DURATION: &str = "3600";
/// Longest text of the service that is passed on, in characters.
const MESSAGE: usize = 300;

const ENV_ROLE: &str = "ALIBABA_CLOUD_ROLE_ARN";
const ENV_PROVIDER: &str = "ALIBABA_CLOUD_OIDC_PROVIDER_ARN";
const ENV_FILE: &str = "ALIBABA_CLOUD_OIDC_TOKEN_FILE";
const ENV_SESSION: &str = "ALIBABA_CLOUD_ROLE_SESSION_NAME";
const ENV_ENDPOINT: &str = "ALIBABA_CLOUD_STS_ENDPOINT";

/// What the token is exchanged for, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebIdentity {
    /// Role.
    pub role: String,
    /// Identity provider that signed the token.
    pub provider: String,
    /// File with the token.
    pub token_file: PathBuf,
    /// Name of the session, as the cloud's audit log shows it.
    pub session: String,
    /// The token service; none: that of the region.
    pub endpoint: Option<String>,
}

impl WebIdentity {
    /// What the webhook of RRSA puts into a pod's environment; none without it.
    pub(super) fn discover(
        get: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, CredentialError> {
        let named = [ENV_ROLE, ENV_PROVIDER, ENV_FILE].map(|name| (name, get(name)));
        let lack = named.iter().find(|(_, value)| value.is_none());
        let have = named.iter().find(|(_, value)| value.is_some());
        if let (Some((have, _)), Some((lack, _))) = (have, lack) {
            return Err(CredentialError::Environment { have, lack });
        }
        let [(_, Some(role)), (_, Some(provider)), (_, Some(file))] = named else {
            return Ok(None);
        };
        Ok(Some(Self {
            role,
            provider,
            token_file: PathBuf::from(file),
            session: get(ENV_SESSION).unwrap_or_else(|| "tidewayd".to_owned()),
            endpoint: get(ENV_ENDPOINT),
        }))
    }
}

/// The token service of a region, and how to get there.
#[derive(Debug, Clone)]
pub struct TokenService {
    /// Region.
    pub region: String,
    /// Connections.
    pub sender: Sender,
}

impl TokenService {
    /// Exchanges the token for a key.
    pub(super) async fn exchange(
        &self,
        who: &WebIdentity,
        now: UnixMillis,
    ) -> Result<HeldKey, CredentialError> {
        let fail = |cause: String| CredentialError::WebIdentity { role: who.role.clone(), cause };
        let file = who.token_file.display();
        let token = std::fs::read_to_string(&who.token_file)
            .map_err(|e| fail(format!("token file {file}: {e}")))?;
        let token = Secret::new(token.trim());
        let request = self.request(who, &token, now).map_err(fail)?;
        let answer = self.sender.send(request).await.map_err(|e| fail(e.to_string()))?;
        key_of(&answer, now).map_err(|cause| fail(cause.replace(token.expose(), "***")))
    }

    fn request(
        &self,
        who: &WebIdentity,
        token: &Secret,
        now: UnixMillis,
    ) -> Result<Request<Bytes>, String> {
        if token.expose().is_empty() {
            return Err(format!("token file {} is empty", who.token_file.display()));
        }
        let endpoint: Endpoint = match &who.endpoint {
            Some(text) if text.contains("://") => text.parse(),
            Some(host) => format!("https://{host}").parse(),
            None => format!("https://sts.{}.aliyuncs.com", self.region).parse(),
        }
        .map_err(|e| format!("{ENV_ENDPOINT}: {e}"))?;
        let pairs = |list: &[(&str, &str)]| {
            let owned = list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            canonical_query(&owned.collect::<Vec<_>>())
        };
        let date = sign::acs_date(now);
        let query = pairs(&[
            ("Action", ACTION),
            ("Format", "JSON"),
            ("Timestamp", &date),
            ("Version", VERSION),
        ]);
        let body = pairs(&[
            ("DurationSeconds", DURATION),
            ("OIDCProviderArn", &who.provider),
            ("OIDCToken", token.expose()),
            ("RoleArn", &who.role),
            ("RoleSessionName", &who.session),
        ]);
        Request::post(format!("{endpoint}/?{query}"))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, sign::USER_AGENT)
            .body(Bytes::from(body))
            .map_err(|e| e.to_string())
    }
}

/// The key in an answer, else the cause.
fn key_of(answer: &Answer, now: UnixMillis) -> Result<HeldKey, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Given {
        credentials: serde_json::Value,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Refusal {
        code: String,
        message: String,
    }
    if answer.status != StatusCode::OK {
        let said: Refusal = serde_json::from_slice(&answer.body).unwrap_or_default();
        let status = answer.status.as_u16();
        let line = format!("HTTP status {status} {}: {}", said.code, said.message);
        let line = line.chars().map(|c| if c.is_control() { ' ' } else { c });
        return Err(line.take(MESSAGE).collect());
    }
    // The answer itself holds secrets and is never shown.
    let given: Given = serde_json::from_slice(&answer.body).map_err(|e| {
        format!("the answer has no credentials (line {} column {})", e.line(), e.column())
    })?;
    let held = file_key(&given.credentials.to_string(), now)?;
    if held.key.token.is_none() || held.expires.is_none() {
        return Err("the credentials have no token or no end".to_owned());
    }
    Ok(held)
}

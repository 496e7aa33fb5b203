//! The token services of both clouds: keys of a role for a web identity (RRSA, IRSA).
//!
//! Such a call is not signed; the token says who calls. The lab has no identity provider, so it believes every token that is
//! a JWT in shape and whose `exp` is not over. Role and account must be those of the lab.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::incoming::Incoming;
use super::keys::Keys;
use super::xml;
use crate::cloud::clock::{Millis, iso8601};
use crate::cloud::error::ApiError;
use crate::cloud::profile::Profile;
use crate::config::{CloudKind, LabConfig};

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// What a call of a token service carries.
#[derive(Debug, Clone)]
pub struct TokenCall {
    /// Action.
    pub action: String,
    params: Vec<(String, String)>,
}

/// Parameters of a cloud's action.
struct Words {
    action: &'static str,
    role: String,
    token: &'static str,
    provider: Option<(&'static str, String)>,
}

impl TokenCall {
    /// The call, when the request is one of a token service: the API version tells.
    pub fn read(request: &Incoming, cloud: CloudKind) -> Option<Self> {
        let version = match cloud {
            CloudKind::Aliyun => "2015-04-01",
            CloudKind::Aws => "2011-06-15",
        };
        let mut params = request.query();
        params.extend(request.form());
        let find =
            |name: &str| params.iter().find(|(key, _)| key == name).map(|(_, it)| it.clone());
        let header = |name: &str| request.header(name).map(str::to_owned);
        let told = header("x-acs-version").or_else(|| find("Version"))?;
        let action = header("x-acs-action").or_else(|| find("Action")).unwrap_or_default();
        (told == version).then_some(Self { action, params })
    }

    /// Checks the identity and makes a key.
    pub fn answer(
        &self,
        config: &LabConfig,
        keys: &mut Keys,
        now: Millis,
    ) -> Result<Value, ApiError> {
        let words = words(config);
        if self.action != words.action {
            return Err(ApiError::not_found("InvalidAction.NotFound", "api"));
        }
        let session = self.need("RoleSessionName")?;
        if self.need("RoleArn")? != words.role {
            return Err(match config.cloud {
                CloudKind::Aliyun => ApiError::not_found("EntityNotExist.Role", "role"),
                CloudKind::Aws => ApiError::forbidden(
                    "AccessDenied",
                    "Not authorized to perform sts:AssumeRoleWithWebIdentity",
                ),
            });
        }
        if let Some((name, start)) = &words.provider
            && !self.need(name)?.starts_with(start)
        {
            return Err(ApiError::not_found("EntityNotExist.OIDCProvider", "OIDC provider"));
        }
        believe(self.need(words.token)?, config.cloud, now)?;
        let seconds = self.get("DurationSeconds").and_then(|it| it.parse::<u64>().ok());
        let life = seconds.unwrap_or(3600).min(config.ram_ttl_seconds).saturating_mul(1000);
        let key = keys.mint(life, now);
        let expires = iso8601(key.expires);
        Ok(match config.cloud {
            CloudKind::Aliyun => json!({
                "AssumedRoleUser": {
                    "Arn": format!("{}/{session}", words.role),
                    "AssumedRoleId": format!("300000000000000001:{session}"),
                },
                "Credentials": {
                    "AccessKeyId": key.id,
                    "AccessKeySecret": key.secret,
                    "SecurityToken": key.token,
                    "Expiration": expires,
                },
            }),
            CloudKind::Aws => json!({
                "AssumedRoleUser": {
                    "Arn": format!("{}/{session}", words.role),
                    "AssumedRoleId": format!("AROATIDEWAYLAB0000001:{session}"),
                },
                "Credentials": {
                    "AccessKeyId": key.id,
                    "SecretAccessKey": key.secret,
                    "SessionToken": key.token,
                    "Expiration": expires,
                },
            }),
        })
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.params.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn need(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| ApiError::missing(name))
    }
}

fn words(config: &LabConfig) -> Words {
    let owner = Profile::of(config.cloud).owner;
    let role = &config.ram_role;
    match config.cloud {
        CloudKind::Aliyun => Words {
            action: "AssumeRoleWithOIDC",
            role: format!("acs:ram::{owner}:role/{role}"),
            token: "OIDCToken",
            provider: Some(("OIDCProviderArn", format!("acs:ram::{owner}:oidc-provider/"))),
        },
        CloudKind::Aws => Words {
            action: "AssumeRoleWithWebIdentity",
            role: format!("arn:aws:iam::{owner}:role/{role}"),
            token: "WebIdentityToken",
            provider: None,
        },
    }
}

/// The clouds repeat no token in their errors, but a proxy before them may: this one does, so that clients show what they
/// pass on.
fn believe(token: &str, cloud: CloudKind, now: Millis) -> Result<(), ApiError> {
    let (invalid, expired) = match cloud {
        CloudKind::Aliyun => {
            ("AuthenticationFail.OIDCToken.Invalid", "AuthenticationFail.OIDCToken.Expired")
        }
        CloudKind::Aws => ("InvalidIdentityToken", "ExpiredTokenException"),
    };
    let parts: Vec<&str> = token.trim().split('.').collect();
    let claims = match parts.as_slice() {
        [_, claims, _] => URL_SAFE_NO_PAD.decode(claims).ok(),
        _ => None,
    };
    let claims: Option<Value> = claims.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(end) = claims.and_then(|claims| claims.get("exp")?.as_u64()) else {
        return Err(ApiError::new(400, invalid, format!("This OIDC token is invalid: {token}")));
    };
    if end.saturating_mul(1000) <= now {
        return Err(ApiError::new(400, expired, "This OIDC token is expired."));
    }
    Ok(())
}

/// A success of AWS' token service.
pub fn success(action: &str, value: &Value, request_id: &str) -> String {
    let mut fields = value.clone();
    if let Some(fields) = fields.as_object_mut() {
        fields.remove(Profile::of(CloudKind::Aws).request_id);
    }
    let body = json!({
        format!("{action}Result"): fields,
        "ResponseMetadata": { "RequestId": request_id },
    });
    xml::document(&format!("{action}Response"), NAMESPACE, &body)
}

/// An error of AWS' token service.
pub fn failure(error: &ApiError, request_id: &str) -> String {
    let body = json!({
        "Error": { "Type": "Sender", "Code": error.code, "Message": error.message },
        "RequestId": request_id,
    });
    xml::document("ErrorResponse", NAMESPACE, &body)
}

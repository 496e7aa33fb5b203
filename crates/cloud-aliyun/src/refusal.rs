//! What an error of the cloud means: code → [`ErrorKind`], and the building of [`CloudError`].
//!
//! Codes: the error lists of the ECS and VPC API pages, and what clients in the field had to handle. Families are matched by
//! prefix or suffix, because new members appear (`Throttling.User`, `Throttling.Api`, …).

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tideway_cloud::{CloudError, ErrorKind};

use crate::{
    AccessKey, ApiRequest,
    send::{Answer, SendError},
};

/// Longest text of the cloud that is passed on, in characters.
const MESSAGE: usize = 600;

/// What a code means. `status` decides where the code says nothing; `reads_only`: a lost answer of this call leaves nothing
/// behind; `permission` names action and resource as RAM policies do.
pub fn classify(code: &str, status: StatusCode, reads_only: bool, permission: &str) -> ErrorKind {
    let lost = if reads_only { ErrorKind::Unavailable } else { ErrorKind::Unknown };
    let quota = |what: &str| ErrorKind::QuotaExceeded(what.to_owned());
    match code {
        "InvalidVSwitchId.IpNotEnough" | "QuotaExceeded.PrivateIpAddress" => {
            return ErrorKind::SubnetFull;
        }
        "EniPerInstanceLimitExceeded" => return quota("network interfaces of the instance"),
        "InvalidOperation.Ipv4CountExceeded" => {
            return quota("IPv4 addresses of the network interface");
        }
        "InvalidOperation.Ipv6CountExceeded" => {
            return quota("IPv6 addresses of the network interface");
        }
        "SecurityGroupInstanceLimitExceed" => return quota("members of the security group"),
        // The address is not on the ENI (any more).
        "InvalidIp.IpUnassigned" => return ErrorKind::NotFound,
        // The gateway has seen this very request before: whatever it did, it did.
        "SignatureNonceUsed" => return lost,
        // Another call with this token is still in work.
        "IdempotentProcessing" | "LastTokenProcessing" => return ErrorKind::Conflict,
        // The token was used with other parameters: repeating cannot help, a new intent with a new token can.
        "IdempotentFailed" | "IdempotentParameterMismatch" => return ErrorKind::Invalid,
        "InternalError" | "ServiceUnavailable" => return ErrorKind::Unavailable,
        _ => {}
    }
    if code.starts_with("Throttling") || status == StatusCode::TOO_MANY_REQUESTS {
        return ErrorKind::Throttled { retry_after: None };
    }
    if is_about_credentials(code) {
        return ErrorKind::Credentials;
    }
    if code == "Forbidden" || code.starts_with("Forbidden.") || code.starts_with("NoPermission") {
        return ErrorKind::Denied(permission.to_owned());
    }
    if is_about_the_request(code) {
        return ErrorKind::Invalid;
    }
    if code.ends_with(".NotFound") {
        return ErrorKind::NotFound;
    }
    if is_about_state(code) {
        return ErrorKind::Conflict;
    }
    if code.contains("LimitExceed") || code.starts_with("QuotaExceed") {
        return quota(code);
    }
    match status {
        // A gateway in front of the API gave up waiting; the API itself may go on.
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => lost,
        status if status.is_server_error() => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    }
}

/// Whether the date of the request was refused.
pub fn is_about_time(code: &str) -> bool {
    const FAMILIES: [&str; 3] = ["InvalidTimeStamp", "InvalidTimestamp", "IllegalTimestamp"];
    FAMILIES.iter().any(|family| code.starts_with(family))
}

fn is_about_credentials(code: &str) -> bool {
    const FAMILIES: [&str; 6] = [
        "InvalidAccessKey",
        "InactiveAccessKey",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "InvalidSecurityToken",
        "MissingSecurityToken",
    ];
    is_about_time(code) || FAMILIES.iter().any(|family| code.starts_with(family))
}

/// Codes that end like a missing thing or a conflict but speak of the request itself.
fn is_about_the_request(code: &str) -> bool {
    const FAMILIES: [&str; 5] = [
        "InvalidParameter",
        "InvalidAction",
        "InvalidVersion",
        "InvalidRegionId",
        "InvalidResourceType",
    ];
    FAMILIES.iter().any(|family| code.starts_with(family))
}

fn is_about_state(code: &str) -> bool {
    code == "InvalidOperation.InvalidEniState"
        || code.ends_with("Conflict")
        || (code.starts_with("Incorrect") && code.contains("Status"))
        || code.starts_with("InvalidStatus")
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    #[serde(alias = "code", rename = "Code")]
    code: Option<String>,
    #[serde(alias = "message", rename = "Message")]
    message: Option<String>,
    #[serde(alias = "requestId", rename = "RequestId")]
    request_id: Option<String>,
    #[serde(alias = "accessDeniedDetail", rename = "AccessDeniedDetail")]
    access_denied: Value,
}

impl Refusal {
    /// The action that RAM asked for, when it tells: it may be another one than that of the call.
    fn denied_action(&self) -> Option<&str> {
        self.access_denied.get("AuthAction").and_then(Value::as_str).filter(|it| !it.is_empty())
    }
}

/// The error that an answer with another status than 200 means.
pub fn refused(request: &ApiRequest, answer: &Answer, key: &AccessKey) -> CloudError {
    let refusal: Refusal = serde_json::from_slice(&answer.body).unwrap_or_default();
    let own = || format!("{}:{}", request.api.ram_prefix(), request.action);
    let action = refusal.denied_action().map_or_else(own, |told| clean(told, key));
    let permission = format!("{action} on {}", request.resource());
    let (code, message) = match refusal.code {
        Some(code) if !code.is_empty() => (code, refusal.message.unwrap_or_default()),
        _ => {
            let start: Vec<u8> = answer.body.iter().copied().take(200).collect();
            let start = String::from_utf8_lossy(&start).into_owned();
            (
                format!("Http{}", answer.status.as_u16()),
                format!("the answer names no error code; it begins {start:?}"),
            )
        }
    };
    // Kinds repeat the code, too.
    let code = clean(&code, key);
    let mut kind = classify(&code, answer.status, request.reads_only(), &permission);
    // One code for both. That single addresses lack as well shows when they are asked for.
    if kind == ErrorKind::SubnetFull && request.wants_prefixes() {
        kind = ErrorKind::Fragmented;
    }
    // The header marks throttling whatever the code says (the official SDKs hold so); milliseconds.
    let hint = answer.headers.get("x-acs-retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
    let hint = hint.filter(|ms: &u64| *ms > 0).map(Duration::from_millis);
    if hint.is_some() || matches!(kind, ErrorKind::Throttled { .. }) {
        kind = ErrorKind::Throttled { retry_after: hint };
    }
    let mut message = clean(&message, key);
    if let Some(named) = configured(request, &code) {
        message.extend(["; ", &named]);
        kind = ErrorKind::Invalid;
    }
    CloudError {
        action: request.action.to_owned(),
        kind,
        code,
        message,
        request_id: refusal.request_id.map(|id| clean(&id, key)),
    }
}

/// What is wrong in the configuration, with its key: things that people name there and that the cloud does not have.
fn configured(request: &ApiRequest, code: &str) -> Option<String> {
    if code.starts_with("InvalidRegionId") {
        return Some(format!("region {} is that of cloud.region", request.get("RegionId")?));
    }
    let missing = code.ends_with(".NotFound") && request.action == "CreateNetworkInterface";
    if missing && code.starts_with("InvalidVSwitchId") {
        let id = request.get("VSwitchId")?;
        return Some(format!(
            "vSwitch {id} does not exist (any more); name another in eni.subnets"
        ));
    }
    if missing && code.starts_with("InvalidSecurityGroup") {
        let groups = request.params.iter().filter(|(key, _)| key.starts_with("SecurityGroupId"));
        let ids: Vec<&str> = groups.map(|(_, id)| id.as_str()).collect();
        let ids = ids.join(", ");
        return Some(format!(
            "of the security groups {ids} one does not exist (any more); name others in eni.securityGroups (without it they are those of the primary ENI)"
        ));
    }
    None
}

/// The error of a call that got no answer.
pub fn unanswered(request: &ApiRequest, error: &SendError) -> CloudError {
    let (code, kind) = match error {
        SendError::NotSent { code, .. } => (code, ErrorKind::Unavailable),
        SendError::Lost { code, .. } if request.reads_only() => (code, ErrorKind::Unavailable),
        SendError::Lost { code, .. } => (code, ErrorKind::Unknown),
    };
    own(request, kind, code, error.to_string())
}

/// The error of an answer that says success but makes no sense.
pub fn senseless(request: &ApiRequest, what: impl Into<String>) -> CloudError {
    let kind = if request.reads_only() { ErrorKind::Unavailable } else { ErrorKind::Unknown };
    own(request, kind, "SenselessAnswer", what.into())
}

/// An error that is found on this side.
pub fn own(request: &ApiRequest, kind: ErrorKind, code: &str, message: String) -> CloudError {
    CloudError {
        action: request.action.to_owned(),
        kind,
        code: code.to_owned(),
        message,
        request_id: None,
    }
}

/// Foreign text for one line of a log: without secrets and control characters, and not endless.
fn clean(text: &str, key: &AccessKey) -> String {
    let scrubbed = key.scrub(text);
    let line = scrubbed.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(MESSAGE).collect()
}

#[cfg(test)]
mod tests;

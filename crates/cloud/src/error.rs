//! Errors of a cloud: what kind, whether to try again, and what a person can do.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// What went wrong, in the words of both clouds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorKind {
    /// Rate limit; the cloud may say how long to wait.
    Throttled {
        /// `x-acs-retry-after` and the like.
        retry_after: Option<Duration>,
    },
    /// The subnet has no free address.
    SubnetFull,
    /// A quota or limit of account, instance or ENI is reached; the text names it.
    QuotaExceeded(String),
    /// A permission is missing; the text names action and resource.
    Denied(String),
    /// The credentials are refused or expired.
    Credentials,
    /// The named thing does not exist (or not yet, or not any more).
    NotFound,
    /// The thing is in a state that forbids the call, or another change is in work.
    Conflict,
    /// The cloud answered that it failed, and did nothing.
    Unavailable,
    /// No answer, or a torn one: the call may have had its effect, now or later.
    Unknown,
    /// The request itself is wrong: a defect of ours or of the configuration.
    Invalid,
}

/// An error of one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct CloudError {
    /// API action, such as `CreateNetworkInterface`.
    pub action: String,
    /// Kind.
    pub kind: ErrorKind,
    /// The cloud's error code, or a word of ours (`Timeout`, `ConnectionRefused`).
    pub code: String,
    /// The cloud's text. Never holds a secret.
    pub message: String,
    /// The cloud's request id, for its support.
    pub request_id: Option<String>,
}

impl fmt::Display for CloudError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.action, self.code, self.message)?;
        if let Some(id) = &self.request_id {
            write!(f, " (request {id})")?;
        }
        Ok(())
    }
}

impl CloudError {
    /// Whether the same call may succeed later without a change by a person.
    pub fn is_retryable(&self) -> bool {
        match self.kind {
            ErrorKind::Throttled { .. }
            | ErrorKind::Conflict
            | ErrorKind::Unavailable
            | ErrorKind::Unknown
            | ErrorKind::SubnetFull
            | ErrorKind::Credentials => true,
            ErrorKind::QuotaExceeded(_)
            | ErrorKind::Denied(_)
            | ErrorKind::NotFound
            | ErrorKind::Invalid => false,
        }
    }

    /// What a person can do about it.
    pub fn remedy(&self) -> String {
        match &self.kind {
            ErrorKind::Throttled { .. } => "the account's rate limit is reached; the call is repeated more slowly, no action is needed unless it lasts".into(),
            ErrorKind::SubnetFull => "the subnet has no free address; add a subnet to eni.subnets or free addresses".into(),
            ErrorKind::QuotaExceeded(what) => format!("the limit {what:?} is reached; raise the quota or use a larger instance type"),
            ErrorKind::Denied(what) => format!("grant the node's role the permission {what}"),
            ErrorKind::Credentials => "the credentials are refused; check the instance's RAM role or the credentials file, and the clock".into(),
            ErrorKind::NotFound => "the named resource does not exist; if it was deleted by hand, the node finds out by itself".into(),
            ErrorKind::Conflict => "another change is in work; the call is repeated".into(),
            ErrorKind::Unavailable => "the cloud API failed; the call is repeated".into(),
            ErrorKind::Unknown => "no answer came; the outcome is read back before the call is repeated".into(),
            ErrorKind::Invalid => "the request was refused as wrong; check subnets and security groups in the configuration".into(),
        }
    }
}

//! Errors of a cloud: what kind, whether to try again, and what a person can do.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use tideway_model::{Cause, Why};

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
    /// The subnet has no whole prefix (single addresses it may have).
    Fragmented,
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
            | ErrorKind::Fragmented
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
            ErrorKind::QuotaExceeded(what) => format!(
                "the limit {what:?} is reached; raise the quota or use a larger instance type"
            ),
            ErrorKind::Denied(what) => format!("grant the node's role the permission {what}"),
            ErrorKind::Throttled { .. }
            | ErrorKind::SubnetFull
            | ErrorKind::Fragmented
            | ErrorKind::Credentials
            | ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::Unavailable
            | ErrorKind::Unknown
            | ErrorKind::Invalid => self.kind.cause().person().to_owned(),
        }
    }
}

impl ErrorKind {
    /// Its name in the catalogue.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Throttled { .. } => Cause::Throttled,
            Self::SubnetFull => Cause::SubnetFull,
            Self::Fragmented => Cause::Fragmented,
            Self::QuotaExceeded(_) => Cause::Quota,
            Self::Denied(_) => Cause::Denied,
            Self::Credentials => Cause::Credentials,
            Self::NotFound => Cause::NotFound,
            Self::Conflict => Cause::Conflict,
            Self::Unavailable => Cause::Unavailable,
            Self::Unknown => Cause::Unknown,
            Self::Invalid => Cause::Invalid,
        }
    }
}

impl From<&CloudError> for Why {
    fn from(error: &CloudError) -> Self {
        Self::new(error.kind.cause(), format!("{error}; {}", error.remedy()))
    }
}

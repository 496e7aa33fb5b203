//! Error answers: the code is what clients act on, so the real ones are used.
//!
//! The constructors speak as Alibaba Cloud does: codes follow the ECS and VPC API pages and what public clients match on. Where several pages disagree on the HTTP
//! status, 404 is used for "not found", 403 for limits and wrong states, 400 for malformed input.

use serde_json::Value;

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code} ({status}): {message}")]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// `Code` of the answer.
    pub code: String,
    /// `Message` of the answer.
    pub message: String,
    /// Seconds for the header `x-acs-retry-after`; marks throttling by a cloud that tells.
    pub retry_after: Option<u32>,
    /// `AccessDeniedDetail` of the answer: who lacked which permission.
    pub access_denied: Option<Value>,
}

impl ApiError {
    /// An error with any code and status.
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        let (code, message) = (code.to_owned(), message.into());
        Self { status, code, message, retry_after: None, access_denied: None }
    }

    /// A mandatory parameter is absent.
    pub fn missing(name: &str) -> Self {
        Self::new(
            400,
            "MissingParameter",
            format!("The input parameter {name} that is mandatory for this request is not given."),
        )
    }

    /// A parameter is malformed or out of its range.
    pub fn invalid(name: &str, why: &str) -> Self {
        Self::new(400, "InvalidParameter", format!("The parameter {name} is not valid: {why}."))
    }

    /// Two parameters exclude each other.
    pub fn conflict(one: &str, other: &str) -> Self {
        Self::new(
            400,
            "InvalidParameter.Conflict",
            format!("The parameters {one} and {other} exclude each other: give one of them."),
        )
    }

    /// A limit or a state forbids the call.
    pub fn forbidden(code: &str, message: impl Into<String>) -> Self {
        Self::new(403, code, message)
    }

    /// The thing does not exist; `code` carries `.NotFound`.
    pub fn not_found(code: &str, what: &str) -> Self {
        Self::new(404, code, format!("The specified {what} does not exist."))
    }

    /// The ENI is not in a state that allows the call.
    pub fn eni_state(id: &str, state: &str) -> Self {
        Self::forbidden(
            "InvalidOperation.InvalidEniState",
            format!("The network interface {id} is {state}; the operation is not allowed now."),
        )
    }
}

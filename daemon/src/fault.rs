//! What a failed request becomes: a gRPC status whose details carry the CNI error object.

use std::fmt;

use prost::Message as _;
use tideway_ipam::Refusal;
use tideway_model::{
    AttachmentKey, Cause, Why,
    cni_code::{INTERNAL, INVALID_ENVIRONMENT, TRY_AGAIN, UNKNOWN_CONTAINER},
};
use tideway_proto::node::CniError;
use tonic::{Code, Status};

/// One failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What happened.
    pub message: String,
    /// Cause and remedy.
    pub why: Why,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.message, self.why)
    }
}

impl Fault {
    /// A failure with its cause and what is known of it.
    pub fn new(cause: Cause, message: &str, details: &str) -> Self {
        Self { message: message.to_owned(), why: Why::new(cause, details) }
    }

    /// CNI error code, see [`tideway_model::cni_code`].
    pub fn code(&self) -> u32 {
        self.why.cause.code()
    }

    /// The runtime passed something unusable.
    pub fn environment(message: &str, details: &str) -> Self {
        Self::new(Cause::RuntimeArguments, message, details)
    }

    /// CHECK for something that was never added, or was deleted.
    pub fn unknown_container(key: &AttachmentKey) -> Self {
        let text = format!(
            "container {} has no interface {} here; ADD it first",
            key.container, key.ifname
        );
        Self::new(Cause::UnknownContainer, "unknown attachment", &text)
    }

    /// CHECK found that the kernel differs.
    pub fn check(findings: &[String]) -> Self {
        Self::new(
            Cause::CheckFailed,
            "the pod's network is not as it was made",
            &format!("{}; a restart of tidewayd repairs it", findings.join("; ")),
        )
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self { message: refusal.message, why: refusal.why }
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let code = match fault.code() {
            UNKNOWN_CONTAINER => Code::NotFound,
            INVALID_ENVIRONMENT => Code::InvalidArgument,
            TRY_AGAIN => Code::Unavailable,
            INTERNAL => Code::Internal,
            _ => Code::FailedPrecondition,
        };
        let text = fault.to_string();
        let details =
            CniError { code: fault.code(), details: fault.why.to_string(), message: fault.message };
        Self::with_details(code, text, details.encode_to_vec().into())
    }
}

//! What a failed request becomes: a gRPC status whose details carry the CNI error object.

use std::fmt;

use prost::Message as _;
use tideway_ipam::Refusal;
use tideway_model::{
    AttachmentKey,
    cni_code::{CHECK_FAILED, INTERNAL, INVALID_ENVIRONMENT, TRY_AGAIN, UNKNOWN_CONTAINER},
};
use tideway_proto::node::CniError;
use tonic::{Code, Status};

/// One failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// CNI error code, see [`tideway_model::cni_code`].
    pub code: u32,
    /// What happened.
    pub message: String,
    /// Cause and remedy.
    pub details: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.message, self.details)
    }
}

impl Fault {
    fn new(code: u32, message: &str, details: &str) -> Self {
        Self { code, message: message.to_owned(), details: details.to_owned() }
    }

    /// The runtime passed something unusable.
    pub fn environment(message: &str, details: &str) -> Self {
        Self::new(INVALID_ENVIRONMENT, message, details)
    }

    /// Later it may work.
    pub fn again(message: &str, details: &str) -> Self {
        Self::new(TRY_AGAIN, message, details)
    }

    /// Something failed on this node.
    pub fn internal(message: &str, details: &str) -> Self {
        Self::new(INTERNAL, message, details)
    }

    /// CHECK for something that was never added, or was deleted.
    pub fn unknown_container(key: &AttachmentKey) -> Self {
        let text = format!(
            "container {} has no interface {} here; ADD it first",
            key.container, key.ifname
        );
        Self::new(UNKNOWN_CONTAINER, "unknown attachment", &text)
    }

    /// CHECK found that the kernel differs.
    pub fn check(findings: &[String]) -> Self {
        Self::new(
            CHECK_FAILED,
            "the pod's network is not as it was made",
            &format!("{}; a restart of tidewayd repairs it", findings.join("; ")),
        )
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code, message: refusal.message, details: refusal.cause }
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let code = match fault.code {
            UNKNOWN_CONTAINER => Code::NotFound,
            INVALID_ENVIRONMENT => Code::InvalidArgument,
            TRY_AGAIN => Code::Unavailable,
            INTERNAL => Code::Internal,
            _ => Code::FailedPrecondition,
        };
        let text = fault.to_string();
        let details = CniError { code: fault.code, message: fault.message, details: fault.details };
        Self::with_details(code, text, details.encode_to_vec().into())
    }
}

//! The error object of the protocol.

use serde_json::json;
use tideway_model::{Cause, Why};

use crate::SpecVersion;

/// Why a verb failed: becomes `{cniVersion, code, msg, details}` on stdout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{msg} ({details})")]
pub struct CniError {
    /// See [`tideway_model::cni_code`].
    pub code: u32,
    /// What happened.
    pub msg: String,
    /// Cause and remedy, and the cause's name in brackets.
    pub details: String,
}

impl CniError {
    pub(crate) fn new(cause: Cause, msg: impl Into<String>, details: impl Into<String>) -> Self {
        let details = Why::new(cause, details).to_string();
        Self { code: cause.code(), msg: msg.into(), details }
    }

    /// The object as JSON. Its version is that of the request, when that could be read and is supported.
    pub fn to_json(&self, version: Option<SpecVersion>) -> String {
        json!({
            "cniVersion": version.unwrap_or(SpecVersion::LATEST).as_str(),
            "code": self.code,
            "msg": self.msg,
            "details": self.details,
        })
        .to_string()
    }

    /// Several errors as one: the first gives code and message, the others are named in the details.
    pub(crate) fn collected(errors: Vec<Self>) -> Result<(), Self> {
        let mut errors = errors.into_iter();
        let Some(first) = errors.next() else { return Ok(()) };
        let details = errors.fold(first.details, |all, other| format!("{all}; also: {other}"));
        Err(Self { details, ..first })
    }
}

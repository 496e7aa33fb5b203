//! The error object of the protocol.

use serde_json::json;

use crate::SpecVersion;

/// Error codes of the CNI specification (section "Error"), and ours from 100 on.
pub mod code {
    /// The version of the configuration is not supported.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// An environment variable is missing or wrong.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// Reading or writing failed.
    pub const IO: u32 = 5;
    /// The configuration is no JSON.
    pub const DECODE: u32 = 6;
    /// A key of the configuration is missing or wrong.
    pub const INVALID_CONFIG: u32 = 7;
    /// The runtime should try again later.
    pub const TRY_AGAIN: u32 = 11;
    /// STATUS: no ADD can be served now.
    pub const NOT_AVAILABLE: u32 = 50;
    /// The daemon answered what it must not.
    pub const DAEMON: u32 = 100;
    /// The delegated `portmap` plugin failed without a code of its own.
    pub const PORTMAP: u32 = 102;
}

/// Why a verb failed: becomes `{cniVersion, code, msg, details}` on stdout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{msg} ({details})")]
pub struct CniError {
    /// See [`code`].
    pub code: u32,
    /// What happened.
    pub msg: String,
    /// Cause and remedy.
    pub details: String,
}

impl CniError {
    pub(crate) fn new(code: u32, msg: impl Into<String>, details: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: details.into() }
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

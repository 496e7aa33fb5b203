//! Versions of the CNI specification that we speak.

use std::fmt;

use tideway_model::Cause;

use crate::CniError;

/// A supported version, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpecVersion {
    /// 0.3.1: results with a list of interfaces; no CHECK yet.
    V0_3_1,
    /// 0.4.0: adds CHECK.
    V0_4_0,
    /// 1.0.0: addresses no longer carry their family.
    V1_0_0,
    /// 1.1.0: adds GC, STATUS and the MTU of interfaces.
    V1_1_0,
}

impl SpecVersion {
    /// All of them, oldest first.
    pub const ALL: [Self; 4] = [Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];
    /// The newest.
    pub const LATEST: Self = Self::V1_1_0;

    /// As it stands in `cniVersion`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The version named so, if we speak it.
    pub fn known(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// The version named by a configuration; code 1 when we do not speak it.
    pub fn parse(text: &str) -> Result<Self, CniError> {
        Self::known(text).ok_or_else(|| {
            CniError::new(
                Cause::CniVersion,
                format!("cniVersion {text:?} is not supported"),
                format!("set cniVersion in the configuration to one of {}", Self::list()),
            )
        })
    }

    /// The verb exists only from `since` on.
    pub(crate) fn require(self, since: Self, verb: &str) -> Result<(), CniError> {
        if self >= since {
            return Ok(());
        }
        Err(CniError::new(
            Cause::CniVersion,
            format!("cniVersion {self} has no {verb}"),
            format!("{verb} exists since {since}: raise cniVersion in the configuration"),
        ))
    }

    fn list() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }
}

impl fmt::Display for SpecVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

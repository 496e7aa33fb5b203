//! What a pod with a stable identity is promised: its address again, when it comes back.

use serde::{Deserialize, Serialize};

/// The promise to one identity (namespace and name of a pod).
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeaseTerms {
    /// The address goes to nobody else while the lease lasts, whatever waits.
    pub strict: bool,
    /// The `StatefulSet` (of `apps`) that makes the pod: it can be asked whether the pod will come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stateful_set: Option<String>,
}

//! Questions about pods that are gone.
//!
//! A pod may be deleted while the scheduler asks about it, and the scheduler may learn of it later than we do. Such a question
//! must not put the pod into the books again: nobody would tell us a second time that it is gone.

use std::collections::HashMap;
use std::time::Duration;

use super::facts::Uid;

/// For so long a question about a pod that is gone may still come.
const MEMORY: Duration = Duration::from_mins(1);

/// What such a question is answered.
pub(super) const GONE: &str = "tideway: the pod is deleted or has ended";

/// Pods that went without a node, lately. Of the others the scheduler does not ask.
#[derive(Debug, Default)]
pub(super) struct Late {
    pods: HashMap<Uid, Duration>,
}

impl Late {
    /// The pod has left.
    pub(super) fn left(&mut self, now: Duration, uid: &str) {
        self.pods.insert(uid.into(), now);
    }

    /// The pod is shown: it is there after all.
    pub(super) fn lives(&mut self, uid: &str) {
        self.pods.remove(uid);
    }

    /// Whether the pod has left.
    pub(super) fn has_left(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    /// Forgets those of which nobody asks any more.
    pub(super) fn sweep(&mut self, now: Duration) {
        self.pods.retain(|_, left| now.saturating_sub(*left) < MEMORY);
    }
}

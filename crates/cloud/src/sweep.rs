//! ENIs that nobody looks after any more: which of them may be deleted, and why the others stay.
//!
//! A node looks after its own ENIs. What it leaves behind when it goes for good (an attach that never came after its create,
//! a detach without its delete) has nobody. One daemon of the cluster looks for these and decides by two looks at the cloud.
//!
//! Invariants: an ENI is deleted only if both of two looks, each complete and begun `settle` apart, show it
//! - detached, and not as a primary one;
//! - with the tag of our cluster, and with the two others that every ENI of ours has from its creation on;
//! - without its instance, by the word of the cloud: the Node object may be gone while the instance and its pods live;
//! - older than any call that may still be open for it.
//!
//! Nothing else keeps a living ENI safe, no lock and no Lease: two daemons that sweep at once decide alike, and the second
//! delete finds nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use tideway_model::{
    EniId, InstanceId, Now,
    names::{TAG_CLUSTER, TAG_INTENT, TAG_NODE},
};

use crate::{EniStatus, EniView};

/// When an ENI counts as left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Our cluster.
    pub cluster: String,
    /// Shortest time between the begins of two looks.
    pub settle: Duration,
    /// A younger ENI may belong to a call that is still open. It must also exceed what the clocks of node and cloud may differ by.
    pub age_limit: Duration,
}

/// A complete look at the cloud: detached ENIs, and which of their instances exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    begun: Now,
    enis: BTreeMap<EniId, EniView>,
    living: BTreeSet<InstanceId>,
}

/// The cloud did not show the instance that asks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cloud does not show instance {0}, on which this runs, so it may hide others too; the role must be allowed to see every instance of the cluster (DescribeInstances on all resources)"
)]
pub struct Blind(InstanceId);

impl Look {
    /// From what the cloud answered after `begun`; `living` are those that exist of [`owners`] and of `asker`, the instance
    /// that asks.
    ///
    /// # Errors
    /// When the asker is not shown: a role that may not see an instance gets an answer without it, not an error.
    pub fn new(
        begun: Now,
        asker: &InstanceId,
        enis: Vec<EniView>,
        living: BTreeSet<InstanceId>,
    ) -> Result<Self, Blind> {
        if !living.contains(asker) {
            return Err(Blind(asker.clone()));
        }
        let enis = enis.into_iter().map(|eni| (eni.id.clone(), eni)).collect();
        Ok(Self { begun, enis, living })
    }
}

/// The instances that these ENIs name as their owners.
pub fn owners(enis: &[EniView]) -> BTreeSet<InstanceId> {
    enis.iter().filter_map(owner).collect()
}

fn owner(eni: &EniView) -> Option<InstanceId> {
    InstanceId::try_from(eni.tags.get(TAG_NODE)?.as_str()).ok()
}

/// Why an ENI stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stay {
    /// Another cluster's, or nobody's of ours.
    Foreign,
    /// Not detached, or a primary one.
    Attached,
    /// One of the tags that ours have from the beginning is missing or makes no sense.
    TagsMissing,
    /// Its instance exists: that node looks after it.
    InstanceLives,
    /// The cloud does not tell when it was created.
    AgeUnknown,
    /// A call may still be open for it.
    Young,
    /// One look proves nothing.
    SeenOnce,
}

impl Stay {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Foreign,
        Self::Attached,
        Self::TagsMissing,
        Self::InstanceLives,
        Self::AgeUnknown,
        Self::Young,
        Self::SeenOnce,
    ];

    /// One word, for metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::Attached => "attached",
            Self::TagsMissing => "tags_missing",
            Self::InstanceLives => "instance_lives",
            Self::AgeUnknown => "age_unknown",
            Self::Young => "young",
            Self::SeenOnce => "seen_once",
        }
    }

    /// Whether it stays until a person does something.
    pub fn needs_a_person(self) -> bool {
        matches!(self, Self::TagsMissing | Self::AgeUnknown)
    }
}

impl fmt::Display for Stay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "it is not tagged with this cluster",
            Self::Attached => "it is attached, or about to be",
            Self::TagsMissing => "its tags do not say for which node and call it was made; delete it by hand if nobody uses it",
            Self::InstanceLives => "its instance exists, and the daemon there looks after it",
            Self::AgeUnknown => "the cloud does not tell when it was created; delete it by hand if nobody uses it",
            Self::Young => "it was created a short time ago, so a call may still be open for it",
            Self::SeenOnce => "it looks left behind, and the next look decides",
        })
    }
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Left behind.
    pub delete: Vec<EniId>,
    /// All others of the last look.
    pub stay: BTreeMap<EniId, Stay>,
}

/// Decides by the last look and one before it.
pub fn judge(before: Option<&Look>, last: &Look, rules: &Rules) -> Verdict {
    let before = before.filter(|before| last.begun.boot >= before.begun.boot + rules.settle);
    let suspected_before = |id: &EniId| {
        let seen = before.and_then(|look| Some((look.enis.get(id)?, look)));
        seen.is_some_and(|(eni, look)| reason(eni, look, rules).is_none())
    };
    let mut verdict = Verdict::default();
    for (id, eni) in &last.enis {
        match reason(eni, last, rules) {
            Some(reason) => {
                verdict.stay.insert(id.clone(), reason);
            }
            None if suspected_before(id) => verdict.delete.push(id.clone()),
            None => {
                verdict.stay.insert(id.clone(), Stay::SeenOnce);
            }
        }
    }
    verdict
}

/// Why it must stay by this look alone.
fn reason(eni: &EniView, look: &Look, rules: &Rules) -> Option<Stay> {
    if eni.tags.get(TAG_CLUSTER) != Some(&rules.cluster) {
        return Some(Stay::Foreign);
    }
    if eni.status != EniStatus::Available || eni.instance.is_some() || eni.primary {
        return Some(Stay::Attached);
    }
    let Some(owner) = owner(eni).filter(|_| eni.tags.contains_key(TAG_INTENT)) else {
        return Some(Stay::TagsMissing);
    };
    if look.living.contains(&owner) {
        return Some(Stay::InstanceLives);
    }
    let Some(created) = eni.created else { return Some(Stay::AgeUnknown) };
    (look.begun.wall < created.plus(rules.age_limit)).then_some(Stay::Young)
}

#[cfg(test)]
mod tests;

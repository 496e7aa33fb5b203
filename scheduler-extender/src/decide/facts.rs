//! What the decisions are made from, in our own words: no client type comes in here.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::kind::{PerKind, Wants};
use super::words::OUR_WORDS;

/// A pod's UID. Shared by all books, so that 150 000 of them stand in memory once.
pub type Uid = Arc<str>;

/// A pod as a watch or the scheduler showed it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, one from each field of the API"
)]
pub struct PodFacts {
    /// UID.
    pub uid: Uid,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `resourceVersion`; none when it is no number.
    pub version: Option<u64>,
    /// Node that it is bound to.
    pub node: Option<String>,
    /// Node that preemption cleared for it.
    pub nominated: Option<String>,
    /// What it needs; none on the host's network.
    pub wants: Option<Wants>,
    /// Priority; greater goes first.
    pub priority: i32,
    /// Its containers ended for good.
    pub ended: bool,
    /// Its deletion was asked for.
    pub deleting: bool,
    /// Why `PodScheduled` is `False`, if it is.
    pub failure: Option<Failure>,
    /// Its sandbox has an address (`status.podIP`).
    pub addressed: bool,
    /// Its scheduler is one that asks us.
    pub ours: bool,
    /// Volume claims.
    pub claims: Vec<String>,
    /// It prefers some nodes over others, so a short-list would take candidates from it.
    pub choosy: bool,
}

/// What the condition `PodScheduled` says while it is `False`: the scheduler gave up a cycle. It stays with the pod until the
/// scheduler has another reason, so only a change of it is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Stands for the text.
    hash: u64,
    /// We refused the pod: that says nothing of a cycle in which we offered nodes.
    pub(super) ours: bool,
}

impl Failure {
    /// By the condition's text.
    pub fn of(text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self { hash: hasher.finish(), ours: text.contains(OUR_WORDS) }
    }
}

/// What a node's daemon reported. The figures are those of the `NodeNetwork` object, word by word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The node's network works (condition `Ready` is not `False`).
    pub ready: bool,
    /// The cloud can be reached, so that the node can get more than it has.
    pub grows: bool,
    /// Zone.
    pub zone: String,
    /// Version of the object.
    pub version: Option<u64>,
    /// Up to which change of the node's pods the figures account.
    pub pods_version: Option<u64>,
    /// How long an address rests.
    pub cooldown: Duration,
    /// Adapters with a shared ENI, or kept for one.
    pub adapters_shared: u32,
    /// Adapters with an exclusive ENI, one that cools among them, or whose device a pod holds.
    pub adapters_exclusive: u32,
    /// Adapters that can become either shared or exclusive.
    pub adapters_free: u32,
    /// Of those, how many may become shared.
    pub free_for_shared: u32,
    /// Shared units of one more adapter.
    pub per_adapter: u32,
    /// Shared units that today's shared ENIs can carry.
    pub shared_capacity: u32,
    /// Shared units that the node has.
    pub shared_held: u32,
    /// Shared units with a sandbox.
    pub shared_assigned: u32,
    /// Of those, with the sandbox of a pod that is gone.
    pub shared_leaving: u32,
    /// Shared units that rest.
    pub shared_cooling: u32,
    /// Shared units that nobody can have.
    pub shared_unusable: u32,
    /// Devices that no pod holds.
    pub exclusive_offered: u32,
    /// Devices with a holder.
    pub exclusive_assigned: u32,
    /// Of those, with a holder that is gone.
    pub exclusive_leaving: u32,
    /// ENIs that are attached and idle.
    pub exclusive_ready: u32,
    /// Members that the trunk can have.
    pub member_limit: u32,
    /// Members with a pod.
    pub member_assigned: u32,
    /// Of those, with a pod that is gone.
    pub member_leaving: u32,
    /// Members that nobody can have.
    pub member_unusable: u32,
    /// Subnets with the addresses that they can still give.
    pub subnets: Vec<(String, u32)>,
    /// Pods (`namespace/name`) for whom a strict lease waits here: one unit of `shared_unusable` is theirs.
    pub strict_leases: Vec<String>,
}

impl Report {
    /// Addresses of the subnets that the node has, ENIs' own included.
    pub(super) fn addresses(&self) -> i64 {
        let figures = [
            self.shared_held,
            self.adapters_shared,
            self.adapters_exclusive,
            self.member_assigned,
            self.member_unusable,
        ];
        figures.into_iter().map(i64::from).sum()
    }

    /// Units of pods that are there, as far as the daemon knows.
    pub(super) fn living(&self) -> PerKind<u32> {
        PerKind {
            shared: self.shared_assigned.saturating_sub(self.shared_leaving),
            exclusive: self.exclusive_assigned.saturating_sub(self.exclusive_leaving),
            member: self.member_assigned.saturating_sub(self.member_leaving),
        }
    }
}

/// A node as the API server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Name.
    pub name: String,
    /// Zone by its label.
    pub zone: Option<String>,
    /// New pods are let in: neither cordoned nor tainted.
    pub schedulable: bool,
    /// Neither cordoned nor in trouble: it may be tainted, and the pods that it is kept for still go there.
    pub serves: bool,
}

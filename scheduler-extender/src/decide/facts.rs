//! What the decisions are made from, in our own words: no client type comes in here.

use std::sync::Arc;
use std::time::Duration;

use super::kind::Wants;

/// A pod's UID. Shared by all books, so that 150 000 of them stand in memory once.
pub type Uid = Arc<str>;

/// A pod as a watch or the scheduler showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Priority.
    pub priority: i32,
    /// Its containers ended for good.
    pub ended: bool,
    /// Its deletion was asked for.
    pub deleting: bool,
    /// `PodScheduled` is `False`, and not because we refused the pod.
    pub cycle_failed: bool,
    /// Its scheduler is one that asks us.
    pub ours: bool,
    /// Volume claims.
    pub claims: Vec<String>,
    /// It prefers some nodes over others, so a short-list would take candidates from it.
    pub choosy: bool,
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

/// A node as the API server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Name.
    pub name: String,
    /// Zone by its label.
    pub zone: Option<String>,
    /// New pods are let in: neither cordoned nor tainted.
    pub schedulable: bool,
}

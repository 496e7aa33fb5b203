//! `NodeNetwork`: what a node's allocator has and could have, in numbers, for the scheduler and for people.
//!
//! One small cluster-scoped object a node, named like it and owned by it. The node's daemon is its only writer: counts, never
//! an entry for each address; written when a count changes, when a pod ended, and some seconds after pods have shown their
//! addresses; at most once a second, and not at all while nothing changes.
//! Everybody who reads it must live with an object that is old: [`NodeNetworkStatus::pods_resource_version`] says up to which
//! change of the node's pods it accounts.
//!
//! A *unit* is what one pod needs: an address of each family that the cluster uses, or a whole ENI.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Nothing is wished for a node here: its configuration file says that.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource,
)]
#[kube(
    group = "tideway.dev",
    version = "v1alpha1",
    kind = "NodeNetwork",
    doc = "What a node's allocator has and could have, in numbers. Written by the node's tidewayd and nobody else.",
    plural = "nodenetworks",
    singular = "nodenetwork",
    shortname = "nn",
    status = "NodeNetworkStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Type","type":"string","jsonPath":".status.instance.type"}"#,
    printcolumn = r#"{"name":"Ready","type":"integer","jsonPath":".status.shared.ready"}"#,
    printcolumn = r#"{"name":"Assigned","type":"integer","jsonPath":".status.shared.assigned"}"#,
    printcolumn = r#"{"name":"Cooling","type":"integer","jsonPath":".status.shared.cooling"}"#,
    printcolumn = r#"{"name":"Adapters free","type":"integer","jsonPath":".status.adapters.free"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
pub struct NodeNetworkSpec {}

/// What the node's daemon last said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeNetworkStatus {
    /// The instance.
    pub instance: InstanceStatus,
    /// Places for ENIs.
    pub adapters: AdapterStatus,
    /// Addresses of shared ENIs.
    pub shared: SharedStatus,
    /// Whole ENIs for pods (`aliyun/eni`).
    pub exclusive: ExclusiveStatus,
    /// Member ENIs of a trunk (`aliyun/member-eni`).
    pub member: MemberStatus,
    /// Subnets from which the node may take addresses.
    pub subnets: Vec<SubnetStatus>,
    /// Addresses that wait for the return of a pod with a stable identity.
    pub leases: LeaseStatus,
    /// How long an address rests after its pod, in milliseconds.
    pub cooldown_millis: u64,
    /// `resourceVersion` of the last change of this node's pods that the daemon had seen when it counted. A pod that was
    /// deleted, or whose phase ended, at or before this version and that still holds a unit is counted in `leaving`. None: the daemon has no watch (yet).
    pub pods_resource_version: Option<String>,
    /// What stands in the way, in the manner of Kubernetes: types `Ready`, `CloudReachable`, `SubnetHasRoom`.
    pub conditions: Vec<NodeNetworkCondition>,
}

/// The instance that the node is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceStatus {
    /// Id in the cloud.
    pub id: String,
    /// Type, such as `ecs.g6.xlarge`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Zone, to which all its ENIs belong.
    pub zone: String,
}

/// Where the places for secondary ENIs are. `limit = shared + exclusive + foreign + free`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AdapterStatus {
    /// Secondary ENIs that the instance type allows.
    pub limit: u32,
    /// In use by shared ENIs, or kept for them (`shared.min_enis`).
    pub shared: u32,
    /// Whose device a pod holds, and those whose former holder's ENI is not gone yet.
    pub exclusive: u32,
    /// Taken by ENIs that are not ours.
    pub foreign: u32,
    /// Can still become either: one exclusive unit, or `addressesPerAdapter` shared ones.
    pub free: u32,
    /// Of `free`, how many may become shared (`shared.max_enis`).
    pub free_for_shared: u32,
    /// Units that one more shared ENI gives to pods.
    pub addresses_per_adapter: u32,
}

/// Addresses of shared ENIs, in units. `held = ready + assigned + cooling + unusable`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SharedStatus {
    /// What the shared ENIs can carry when they are filled, those included for which a place is kept; of an ENI that leaves or
    /// failed, only what pods still hold on it. So what `cooling`, `unusable` and pods take is always taken from here.
    pub capacity: u32,
    /// Units that the node has now. What is on its way (an ENI that is being attached) is not among them.
    pub held: u32,
    /// Can be handed out at once, without a cloud call.
    pub ready: u32,
    /// With a pod's sandbox.
    pub assigned: u32,
    /// Of `assigned`: the pod is gone from the API or has ended (up to `podsResourceVersion`), its sandbox is not gone yet.
    pub leaving: u32,
    /// Rest after their last pod.
    pub cooling: u32,
    /// Neither, on an ENI that stays: being unassigned, in doubt, lost, kept from pods by a strict lease.
    pub unusable: u32,
}

/// Whole ENIs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExclusiveStatus {
    /// Devices in the kubelet's list that no pod holds: units that can be had.
    pub offered: u32,
    /// Devices with a holder.
    pub assigned: u32,
    /// Of `assigned`: the pod is gone from the API, as in `shared`.
    pub leaving: u32,
    /// Attached already and idle: no cloud call needed.
    pub ready: u32,
}

/// Member ENIs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MemberStatus {
    /// Members that the trunk of this type can have; 0 without a trunk.
    pub limit: u32,
    /// With a pod.
    pub assigned: u32,
    /// Of `assigned`: the pod is gone from the API, as in `shared`.
    pub leaving: u32,
    /// Rest, or are going.
    pub unusable: u32,
}

/// Room of one subnet. Several nodes see the same room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SubnetStatus {
    /// Id in the cloud.
    pub id: String,
    /// Addresses that it can still give, as the cloud last said, coarse: rounded down to two significant digits.
    pub free: u32,
}

/// Leases that no pod claims at the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseStatus {
    /// How many addresses wait for their identity. They count as `ready` in `shared`, except strict ones.
    pub unclaimed: u32,
    /// Of those, how many may go only to their identity.
    pub strict: u32,
    /// The identities (`namespace/name`), sorted, the first 128 of them.
    #[schemars(length(max = 128))]
    pub identities: Vec<String>,
    /// The list was cut.
    pub truncated: bool,
}

impl LeaseStatus {
    /// Identities that one object names at most.
    pub const LONGEST: usize = 128;
}

/// One condition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeNetworkCondition {
    /// `Ready`, `CloudReachable` or `SubnetHasRoom`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    pub reason: String,
    /// A sentence, with the remedy.
    pub message: String,
    /// When `status` last changed (RFC 3339).
    pub last_transition_time: String,
}

//! What the allocator is told once, at its start: the node's facts and the operator's settings.

use std::{collections::BTreeMap, time::Duration};

use tideway_model::{
    EniId, Families, Family, InstanceId, Limits, SecurityGroupId, SubnetId, SubnetPlan,
};

/// Facts of the node. They change only with a restart of the daemon.
#[derive(Debug, Clone)]
pub struct NodeFacts {
    /// The instance.
    pub instance: InstanceId,
    /// What its type allows.
    pub limits: Limits,
    /// The families that every pod gets.
    pub families: Families,
    /// Subnets for new ENIs, in order of preference; never empty.
    pub subnets: Vec<SubnetPlan>,
    /// Subnets of ENIs that we have, in which there are to be no new ones: their ENIs leave when their pods have.
    pub former_subnets: Vec<SubnetPlan>,
    /// Security groups of new ENIs.
    pub security_groups: Vec<SecurityGroupId>,
    /// Tags of cluster and node: every ENI of ours carries them, and what lacks one is foreign.
    pub tags: BTreeMap<String, String>,
    /// The primary ENI, which is never ours to touch.
    pub primary_eni: EniId,
    /// MTU of pod interfaces, bytes.
    pub mtu: u32,
}

impl NodeFacts {
    /// What is known of a subnet; a bare plan when nothing is.
    pub(crate) fn subnet(&self, id: &SubnetId) -> SubnetPlan {
        let known = self.subnets.iter().chain(&self.former_subnets).find(|s| s.id == *id);
        known.cloned().unwrap_or_else(|| SubnetPlan {
            id: id.clone(),
            ipv4: None,
            ipv6: None,
            gateway_v4: None,
            gateway_v6: None,
        })
    }

    /// Whether new ENIs may be in this subnet.
    pub(crate) fn names(&self, id: &SubnetId) -> bool {
        self.subnets.iter().any(|s| s.id == *id)
    }
}

/// The operator's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Below so many units that can be handed out now, more are asked from the cloud.
    pub low: u16,
    /// So many are asked up to; what is above goes back after `settle`.
    pub high: u16,
    /// Rest of an address between two pods.
    pub cooldown: Duration,
    /// Time between two looks that prove an absence, and that a surplus must last before it goes back.
    pub settle: Duration,
    /// Longest late effect of a call plus longest stale read (H of the design).
    pub late_effect: Duration,
    /// Shared ENIs for which adapter slots are reserved before the first device list.
    pub min_shared: u16,
    /// Most shared ENIs; none: as many as demand asks for.
    pub max_shared: Option<u16>,
    /// Whether pods may use the primary IPv4 address of a secondary ENI.
    pub use_primary_address: bool,
    /// Most secondary IPv4 addresses in one Create (Alibaba Cloud: 49).
    pub create_secondary_max: u16,
    /// How long an address waits for the return of its identity; zero: none does.
    pub lease_ttl: Duration,
    /// Most addresses that wait; none: half of those that the node can have.
    pub lease_max: Option<u16>,
    /// Most IPv4 addresses in one Assign or Unassign; IPv6 never exceeds [`Settings::V6_BATCH`].
    pub assign_batch: u16,
    /// Whether prefixes are asked for where the subnet has whole ones.
    pub prefixes: bool,
}

impl Settings {
    /// Most IPv6 addresses in one call (`Ipv6AddressCount` 1–10).
    pub const V6_BATCH: u16 = 10;
    /// Most prefixes in one call (`Ipv4PrefixCount` 1–10).
    pub const PREFIX_BATCH: u16 = 10;

    pub(crate) fn batch(&self, family: Family) -> u16 {
        match family {
            Family::V4 => self.assign_batch.max(1),
            Family::V6 => self.assign_batch.clamp(1, Self::V6_BATCH),
        }
    }
}

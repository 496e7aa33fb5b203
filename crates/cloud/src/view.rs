//! What the cloud shows.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tideway_model::{
    EniId, Family, InstanceId, Mac, SecurityGroupId, SubnetId, SubnetPlan, UnixMillis,
};

/// State of an ENI in the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EniStatus {
    /// Exists, not attached.
    Available,
    /// Attach is in work; falls back to `Available` when it fails.
    Attaching,
    /// Attached.
    InUse,
    /// Detach is in work.
    Detaching,
    /// Delete is in work.
    Deleting,
}

/// One ENI as the cloud shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniView {
    /// Identity.
    pub id: EniId,
    /// MAC address.
    pub mac: Mac,
    /// State.
    pub status: EniStatus,
    /// Whether it is the instance's primary ENI (never ours to touch).
    pub primary: bool,
    /// Instance that it is attached to, or being attached to.
    pub instance: Option<InstanceId>,
    /// Subnet.
    pub subnet: SubnetId,
    /// Security groups.
    pub security_groups: Vec<SecurityGroupId>,
    /// Primary IPv4 address.
    pub primary_ip: Option<IpAddr>,
    /// All single addresses of both families, the primary one included; none of those within a prefix.
    pub addresses: Vec<IpAddr>,
    /// Prefixes of both families: /28 of IPv4, /80 of IPv6. Each takes one place of the limit of addresses.
    #[serde(default)]
    pub prefixes: Vec<IpNet>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it was created, by the cloud's clock; none when the answer does not tell.
    pub created: Option<UnixMillis>,
}

impl EniView {
    /// Single addresses of one family.
    pub fn of_family(&self, family: Family) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().copied().filter(move |ip| Family::of(*ip) == family)
    }

    /// The prefix that this address lies in.
    pub fn prefix_of(&self, ip: IpAddr) -> Option<IpNet> {
        self.prefixes.iter().copied().find(|prefix| prefix.contains(&ip))
    }

    /// Whether the ENI has this address, by itself or within a prefix.
    pub fn has(&self, ip: IpAddr) -> bool {
        self.addresses.contains(&ip) || self.prefix_of(ip).is_some()
    }
}

/// Which ENIs are asked for. All given conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EniFilter {
    /// These ids; empty: any.
    pub ids: Vec<EniId>,
    /// Attached to this instance.
    pub instance: Option<InstanceId>,
    /// In this state.
    pub status: Option<EniStatus>,
    /// With all these tags.
    pub tags: BTreeMap<String, String>,
}

/// The instance as the cloud shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceView {
    /// Identity.
    pub id: InstanceId,
    /// Instance type, such as `ecs.g6.xlarge`.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// VPC.
    pub vpc: String,
    /// IPv4 and IPv6 blocks of the VPC, as far as known.
    pub vpc_blocks: Vec<IpNet>,
}

/// A subnet as the cloud shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetView {
    /// Blocks and gateways.
    pub plan: SubnetPlan,
    /// Zone.
    pub zone: String,
    /// IPv4 addresses that can still be had.
    pub available: u64,
}

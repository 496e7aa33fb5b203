//! What the datapath must know of the host and of its shared ENIs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tideway_model::{EniId, Family, IfName, Mac, SubnetPlan, names};

/// A link of the host with its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkFacts {
    /// Name at the moment.
    pub ifname: IfName,
    /// Ethernet address: the link's identity.
    pub mac: Mac,
    /// IPv4 addresses of global scope.
    pub ipv4: Vec<Ipv4Addr>,
    /// IPv6 addresses of global scope.
    pub ipv6: Vec<Ipv6Addr>,
}

/// The host, as the plans need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// The primary ENI: the node's own traffic leaves here.
    pub primary: LinkFacts,
    /// Addresses of the node that exclusive pods reach through their host peer.
    pub node_ips: Vec<IpAddr>,
    /// Service ranges of the cluster.
    pub service_cidrs: Vec<IpNet>,
    /// Further ranges that exclusive pods reach through the host.
    pub host_stack_cidrs: Vec<IpNet>,
    /// Blocks of the VPC: beyond them lies the internet.
    pub vpc_blocks: Vec<IpNet>,
    /// Whether the VPC translates what leaves it (`true`), or the node does by its primary ENI (`false`).
    pub external_snat: bool,
}

impl HostFacts {
    /// Whether anything on this node speaks IPv6, so that forwarding and rules are needed for it.
    pub fn ipv6(&self) -> bool {
        let v6 = |nets: &[IpNet]| nets.iter().any(|n| n.addr().is_ipv6());
        !self.primary.ipv6.is_empty() || v6(&self.vpc_blocks) || v6(&self.service_cidrs)
    }

    /// The families in use on this node.
    pub fn families(&self) -> &'static [Family] {
        if self.ipv6() { &Family::BOTH } else { &[Family::V4] }
    }
}

/// A shared ENI: its addresses belong to pods, the host only forwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedEniNet {
    /// The ENI.
    pub id: EniId,
    /// Its MAC, by which the link is found.
    pub mac: Mac,
    /// 1..=250: number of the mark, the routing table and the nftables chain.
    pub table_slot: u16,
    /// Its subnet: gateways.
    pub subnet: SubnetPlan,
    /// Addresses that the cloud gave to it and that pods may have.
    pub addresses: Vec<IpAddr>,
}

impl SharedEniNet {
    /// Routing table of this ENI.
    pub fn table(&self) -> u32 {
        table_of(self.table_slot)
    }

    /// Firewall mark of packets that leave by this ENI.
    pub fn mark(&self) -> u32 {
        mark_of(self.table_slot)
    }
}

/// Largest table slot: the marks above belong to flows of the node and of host peers.
pub const MAX_TABLE_SLOT: u16 = 250;

/// Routing table of a table slot.
pub fn table_of(slot: u16) -> u32 {
    names::TABLE_ENI + u32::from(slot)
}

/// Firewall mark of a table slot.
pub fn mark_of(slot: u16) -> u32 {
    u32::from(slot) << names::MARK_SHIFT
}

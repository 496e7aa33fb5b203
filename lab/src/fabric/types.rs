//! The words in which the cloud half speaks to the fabric. Plain values, no behaviour beyond small questions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// An instance as a namespace. Its primary ENI is plugged by [`super::Fabric::attach`] afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceNet {
    /// Name within the lab; the namespace is `<lab id>-<name>`. Lower case letters, digits and `-`, 1 to 32.
    pub name: String,
    /// Sysctls on top of the hostile defaults, e.g. `net.ipv4.ip_forward` = `1`. Only names below `net.`.
    pub sysctls: BTreeMap<String, String>,
}

/// An ENI as the network sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EniNet {
    /// Id in the cloud, e.g. `eni-1a2b`.
    pub id: String,
    /// MAC address of the link in the instance.
    pub mac: [u8; 6],
    /// Small number, unique in the lab and constant for this ENI; names the port in the VPC's namespace.
    pub index: u32,
    /// The ENI that came with the instance.
    pub primary: bool,
    /// All addresses assigned to the ENI, both families; the first of each family is its primary address.
    pub addresses: Vec<IpAddr>,
    /// IPv6 prefixes assigned to the ENI: each of their addresses is led to it.
    pub blocks: Vec<Ipv6Net>,
    /// IPv4 block of the vSwitch, if it has one.
    pub subnet_v4: Option<Ipv4Net>,
    /// IPv6 block of the vSwitch, if it has one.
    pub subnet_v6: Option<Ipv6Net>,
    /// Gateway of the vSwitch in IPv4.
    pub gateway_v4: Option<Ipv4Addr>,
    /// Gateway of the vSwitch in IPv6.
    pub gateway_v6: Option<Ipv6Addr>,
}

impl EniNet {
    /// The MAC address as the kernel's tools write it.
    pub fn mac_text(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }

    /// Addresses, as blocks of one, and prefixes, without repetitions.
    pub fn delivered(&self) -> BTreeSet<IpNet> {
        let blocks = self.blocks.iter().copied().map(IpNet::V6);
        self.addresses.iter().copied().map(IpNet::from).chain(blocks).collect()
    }

    /// Takes what is in `gone` off the ENI.
    pub(super) fn forget(&mut self, gone: &BTreeSet<IpNet>) {
        self.addresses.retain(|address| !gone.contains(&IpNet::from(*address)));
        self.blocks.retain(|block| !gone.contains(&IpNet::V6(*block)));
    }
}

/// A security group with its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityGroupNet {
    /// Id in the cloud, e.g. `sg-1a2b`.
    pub id: String,
    /// What members do with each other when no rule matches (`InnerAccessPolicy`; accept for a basic group).
    pub inner: Policy,
    /// Rules in any order.
    pub rules: Vec<SecurityRuleNet>,
}

/// One rule of a security group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityRuleNet {
    /// Seen from the member.
    pub direction: Direction,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Ports of the receiving side; `None` is every port. Only looked at for TCP and UDP.
    pub ports: Option<PortRange>,
    /// The other side.
    pub peer: GroupPeer,
    /// What happens to a match.
    pub policy: Policy,
    /// 1 to 100, lower goes first; among equal ones drop goes before accept.
    pub priority: u8,
}

/// Direction of a new connection, seen from the member of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Towards the member.
    Ingress,
    /// From the member.
    Egress,
}

/// Protocol of a security group rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// Every protocol.
    All,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and `ICMPv6`.
    Icmp,
}

/// Ports from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
}

/// The other side of a security group rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupPeer {
    /// Everybody, both families.
    Any,
    /// A block of addresses. `0.0.0.0/0` is all of IPv4 and nothing of IPv6.
    Block(IpNet),
    /// The members of a group, by id. An unknown group has no members.
    Group(String),
}

/// What happens to a matching packet of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// Silently dropped.
    Drop,
    /// Let through, with its replies.
    Accept,
}

/// The groups of one ENI and the addresses for which they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Id of the ENI.
    pub eni_id: String,
    /// Ids of its groups. Rules of several groups are merged by priority.
    pub group_ids: Vec<String>,
    /// All addresses of the ENI.
    pub addresses: Vec<IpAddr>,
    /// Its IPv6 prefixes.
    pub blocks: Vec<Ipv6Net>,
}

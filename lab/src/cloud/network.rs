//! The VPC in the words of the fabric.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};

use super::resources::{Eni, EniState, SecurityGroup};
use super::vpc::Vpc;
use crate::config::{DirectionConfig, PolicyConfig, ProtocolConfig, RuleConfig};
use crate::fabric::{
    Direction, EniNet, GroupPeer, InstanceNet, Membership, Policy, PortRange, Protocol,
    SecurityGroupNet, SecurityRuleNet,
};

/// Every address that the network must deliver to the ENI, single ones and those of IPv4 prefixes. IPv6 prefixes have too
/// many to list: [`blocks`].
fn delivered(eni: &Eni) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = eni.addresses().collect();
    for prefix in eni.prefixes_v4() {
        if let IpNet::V4(block) = prefix {
            let first = block.network().to_bits();
            let range = first..=block.broadcast().to_bits();
            all.extend(range.map(|bits| IpAddr::V4(bits.into())));
        }
    }
    all
}

/// The IPv6 prefixes that the network must deliver to the ENI.
fn blocks(eni: &Eni) -> Vec<Ipv6Net> {
    let v6 = |block: &IpNet| match block {
        IpNet::V4(_) => None,
        IpNet::V6(block) => Some(*block),
    };
    eni.prefixes.iter().filter_map(v6).collect()
}

/// An ENI for the fabric.
pub fn eni(vpc: &Vpc, eni: &Eni) -> EniNet {
    let space = vpc.vswitches.get(&eni.vswitch).map(|v| &v.space);
    EniNet {
        id: eni.id.clone(),
        mac: eni.mac,
        index: eni.index,
        primary: eni.primary,
        addresses: delivered(eni),
        blocks: blocks(eni),
        subnet_v4: space.map(super::addresses::AddressSpace::v4_block),
        subnet_v6: space.and_then(super::addresses::AddressSpace::v6_block),
        gateway_v4: space.map(super::addresses::AddressSpace::gateway_v4),
        gateway_v6: space.and_then(super::addresses::AddressSpace::gateway_v6),
    }
}

/// The instances for the fabric, each with its primary ENI.
pub fn instances(vpc: &Vpc) -> Vec<(InstanceNet, EniNet)> {
    let mut all: Vec<(InstanceNet, EniNet)> = vpc
        .instances
        .values()
        .filter_map(|i| {
            let primary = vpc.enis().get(&i.primary_eni)?;
            let net = InstanceNet { name: i.name.clone(), sysctls: i.sysctls.clone() };
            Some((net, eni(vpc, primary)))
        })
        .collect();
    all.sort_by_key(|(_, primary)| primary.index);
    all
}

/// An instance and all ENIs that are plugged into it, the primary one first.
pub fn plugged(vpc: &Vpc, name: &str) -> Option<(InstanceNet, Vec<EniNet>)> {
    let instance = vpc.instance_named(name)?;
    let mut enis: Vec<EniNet> = vpc
        .enis()
        .values()
        .filter(|e| e.instance.as_deref() == Some(instance.id.as_str()))
        .filter(|e| matches!(e.state, EniState::InUse | EniState::Detaching))
        .map(|e| eni(vpc, e))
        .collect();
    enis.sort_by_key(|e| (!e.primary, e.index));
    let net = InstanceNet { name: instance.name.clone(), sysctls: instance.sysctls.clone() };
    Some((net, enis))
}

/// The security groups for the fabric.
pub fn groups(vpc: &Vpc) -> Vec<SecurityGroupNet> {
    vpc.groups
        .values()
        .map(|group: &SecurityGroup| SecurityGroupNet {
            id: group.id.clone(),
            inner: policy(group.inner),
            rules: group.rules.iter().map(|r| rule(vpc, r)).collect(),
        })
        .collect()
}

/// Who is in which groups: ENIs that are attached or on their way off.
pub fn membership(vpc: &Vpc) -> Vec<Membership> {
    vpc.enis()
        .values()
        .filter(|e| matches!(e.state, EniState::Attaching | EniState::InUse | EniState::Detaching))
        .map(|e| Membership {
            eni_id: e.id.clone(),
            group_ids: e.groups.clone(),
            addresses: delivered(e),
            blocks: blocks(e),
        })
        .collect()
}

fn policy(policy: PolicyConfig) -> Policy {
    match policy {
        PolicyConfig::Accept => Policy::Accept,
        PolicyConfig::Drop => Policy::Drop,
    }
}

fn rule(vpc: &Vpc, rule: &RuleConfig) -> SecurityRuleNet {
    let peer = match (&rule.group, &rule.cidr) {
        (Some(name), _) => {
            let id = vpc.groups.values().find(|g| g.name == *name).map(|g| g.id.clone());
            GroupPeer::Group(id.unwrap_or_else(|| name.clone()))
        }
        (None, Some(block)) => GroupPeer::Block(*block),
        (None, None) => GroupPeer::Any,
    };
    SecurityRuleNet {
        direction: match rule.direction {
            DirectionConfig::Ingress => Direction::Ingress,
            DirectionConfig::Egress => Direction::Egress,
        },
        protocol: match rule.protocol {
            ProtocolConfig::All => Protocol::All,
            ProtocolConfig::Tcp => Protocol::Tcp,
            ProtocolConfig::Udp => Protocol::Udp,
            ProtocolConfig::Icmp => Protocol::Icmp,
        },
        ports: rule.ports.as_deref().and_then(ports),
        peer,
        policy: policy(rule.policy),
        priority: rule.priority,
    }
}

/// `80` or `8000-8100`.
pub fn ports(text: &str) -> Option<PortRange> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first = first.trim().parse().ok()?;
    let last = last.trim().parse().ok()?;
    (first <= last).then_some(PortRange { first, last })
}

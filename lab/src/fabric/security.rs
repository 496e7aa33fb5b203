//! Security groups as one nftables script. Pure text.
//!
//! A new connection has to pass twice: the sender's groups (`out…`), then the receiver's (`in…`). Chains are chosen by
//! address, not by port, through one map lookup: anti-spoofing has already tied addresses to ports, and so the order of
//! attach and group changes does not matter. The cloud's own services are not behind the groups, the host outside is. ENIs with the same groups share their chains. Established connections stay.
//!
//! Rules of all groups of an ENI are merged: lower priority first, drop before accept among equals, then what basic
//! groups do by themselves (<https://www.alibabacloud.com/help/en/ecs/user-guide/overview-44>): members of the same
//! group reach each other, others do not, everything may go out.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{
    Direction, GroupPeer, Membership, OUTSIDE_V4, OUTSIDE_V6, Policy, PortRange, Protocol,
    SecurityGroupNet, SecurityRuleNet,
};

/// The whole filter as one transaction.
pub(super) fn script(groups: &[SecurityGroupNet], membership: &[Membership]) -> String {
    let numbers: BTreeMap<&str, usize> =
        groups.iter().enumerate().map(|(number, group)| (group.id.as_str(), number)).collect();
    let mut members: BTreeMap<usize, BTreeSet<IpNet>> = BTreeMap::new();
    let mut of_address: BTreeMap<IpNet, BTreeSet<usize>> = BTreeMap::new();
    for entry in membership {
        let known: BTreeSet<usize> =
            entry.group_ids.iter().filter_map(|id| numbers.get(id.as_str()).copied()).collect();
        let addresses = entry.addresses.iter().copied().map(IpNet::from);
        let blocks = entry.blocks.iter().copied().map(IpNet::V6);
        for address in addresses.chain(blocks) {
            for group in &known {
                members.entry(*group).or_default().insert(address);
            }
            of_address.insert(address, known.clone());
        }
    }
    // Only sets of intervals take prefixes; the others are looked up by a hash.
    let v6 = if membership.iter().all(|entry| entry.blocks.is_empty()) {
        ["ipv6_addr", "ipv6_addr : verdict"]
    } else {
        ["ipv6_addr; flags interval", "ipv6_addr : verdict; flags interval"]
    };
    let mut profiles: BTreeMap<BTreeSet<usize>, BTreeSet<IpNet>> = BTreeMap::new();
    for (address, known) in of_address {
        profiles.entry(known).or_default().insert(address);
    }

    let mut text =
        String::from("table inet security\ndelete table inet security\ntable inet security {\n");
    for number in 0..groups.len() {
        let addresses = members.get(&number).cloned().unwrap_or_default();
        for (family, kind) in [("v4", "ipv4_addr"), ("v6", v6[0])] {
            let elements = of_family(&addresses, family).map(element).collect();
            table_object(&mut text, &format!("set g{number}{family}"), kind, elements);
        }
    }
    for side in ["out", "in"] {
        for (family, kind) in [("v4", "ipv4_addr : verdict"), ("v6", v6[1])] {
            let mut elements = Vec::new();
            for (profile, addresses) in profiles.values().enumerate() {
                let verdicts = of_family(addresses, family);
                elements.extend(verdicts.map(|a| format!("{} : goto {side}{profile}", element(a))));
            }
            table_object(&mut text, &format!("map {side}bound{family}"), kind, elements);
        }
    }
    for (profile, numbers_of_profile) in profiles.keys().enumerate() {
        let of_profile: Vec<(usize, &SecurityGroupNet)> =
            numbers_of_profile.iter().filter_map(|n| Some((*n, groups.get(*n)?))).collect();
        chain(&mut text, &format!("out{profile}"), &{
            let mut rules = rule_lines(&of_profile, Direction::Egress, &numbers, "goto inbound");
            rules.push(if of_profile.is_empty() { "drop" } else { "goto inbound" }.to_owned());
            rules
        });
        chain(&mut text, &format!("in{profile}"), &{
            let mut rules = rule_lines(&of_profile, Direction::Ingress, &numbers, "accept");
            for (number, _) in of_profile.iter().filter(|(_, g)| g.inner == Policy::Accept) {
                rules.push(format!("ip saddr @g{number}v4 accept"));
                rules.push(format!("ip6 saddr @g{number}v6 accept"));
            }
            rules.push("drop".to_owned());
            rules
        });
    }
    let hooks = format!(
        "chain inbound {{
           ip daddr {OUTSIDE_V4} accept
           ip6 daddr {OUTSIDE_V6} accept
           ip daddr vmap @inboundv4
           ip6 daddr vmap @inboundv6
           drop
         }}
         chain forward {{
           type filter hook forward priority filter; policy drop;
           ct state established,related accept
           ip saddr vmap @outboundv4
           ip6 saddr vmap @outboundv6
         }}
         chain outside {{
           type filter hook input priority filter; policy accept;
           ct state established,related accept
           ip daddr {OUTSIDE_V4} ip saddr vmap @outboundv4
           ip6 daddr {OUTSIDE_V6} ip6 saddr vmap @outboundv6
         }}
       }}\n"
    );
    text.push_str(&hooks);
    text
}

/// The merged rules of several groups in the order in which they are asked.
fn rule_lines(
    groups: &[(usize, &SecurityGroupNet)],
    direction: Direction,
    numbers: &BTreeMap<&str, usize>,
    accept: &str,
) -> Vec<String> {
    let mut rules: Vec<&SecurityRuleNet> = groups
        .iter()
        .flat_map(|(_, group)| &group.rules)
        .filter(|rule| rule.direction == direction)
        .collect();
    rules.sort_by_key(|rule| (rule.priority, rule.policy)); // Drop sorts before Accept
    let mut lines = Vec::new();
    for rule in rules {
        let transport = transport(rule);
        let verdict = verdict(rule.policy, accept);
        for peer in peers(&rule.peer, direction, numbers) {
            lines.push(format!("{peer}{transport}{verdict}"));
        }
    }
    lines
}

/// Matches for the other side, one line each; none if it has no members at all.
fn peers(peer: &GroupPeer, direction: Direction, numbers: &BTreeMap<&str, usize>) -> Vec<String> {
    let side = match direction {
        Direction::Ingress => "saddr",
        Direction::Egress => "daddr",
    };
    match peer {
        GroupPeer::Any => vec![String::new()],
        GroupPeer::Block(block) => {
            let family = if block.addr().is_ipv4() { "ip" } else { "ip6" };
            // nft takes no match for "all of a family" as a prefix of length 0.
            if block.prefix_len() == 0 {
                let family = if block.addr().is_ipv4() { "ipv4" } else { "ipv6" };
                return vec![format!("meta nfproto {family} ")];
            }
            vec![format!("{family} {side} {} ", block.trunc())]
        }
        GroupPeer::Group(id) => numbers.get(id.as_str()).map_or_else(Vec::new, |number| {
            vec![format!("ip {side} @g{number}v4 "), format!("ip6 {side} @g{number}v6 ")]
        }),
    }
}

fn transport(rule: &SecurityRuleNet) -> String {
    let name = match rule.protocol {
        Protocol::All => return String::new(),
        Protocol::Icmp => return "meta l4proto { icmp, ipv6-icmp } ".to_owned(),
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    match rule.ports {
        None => format!("meta l4proto {name} "),
        // nft takes no range of one.
        Some(PortRange { first, last }) if first == last => format!("{name} dport {first} "),
        Some(PortRange { first, last }) => {
            format!("{name} dport {}-{} ", first.min(last), first.max(last))
        }
    }
}

const fn verdict(policy: Policy, accept: &str) -> &str {
    match policy {
        Policy::Drop => "drop",
        Policy::Accept => accept,
    }
}

fn of_family<'a>(
    addresses: &'a BTreeSet<IpNet>,
    family: &'a str,
) -> impl Iterator<Item = &'a IpNet> {
    addresses.iter().filter(move |address| address.addr().is_ipv4() == (family == "v4"))
}

/// An address or a prefix as an element of a set.
fn element(block: &IpNet) -> String {
    if block.prefix_len() == block.max_prefix_len() {
        return block.addr().to_string();
    }
    block.to_string()
}

fn table_object(text: &mut String, header: &str, kind: &str, elements: Vec<String>) {
    text.extend([header, " { type ", kind, ";\n"]);
    if !elements.is_empty() {
        text.extend(["elements = { ", &elements.join(",\n"), " }\n"]);
    }
    text.push_str("}\n");
}

fn chain(text: &mut String, name: &str, rules: &[String]) {
    text.extend(["chain ", name, " {\n", &rules.join("\n"), "\n}\n"]);
}

#[cfg(test)]
#[path = "security/tests.rs"]
mod tests;

//! The nftables rules, rendered in one place.
//!
//! A packet of a shared pod gets the mark of its ENI by one look into a map, whatever the number of pods. The map belongs to
//! the pool: an address enters it when the cloud gives it to the ENI. Flows that came by the primary ENI or by the host peer of
//! an exclusive pod remember that in their ct mark and never take the map: their replies must go back the same way, else they
//! leave by the pod's ENI with the node's address and the VPC drops them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::IpAddr,
};

use ipnet::IpNet;
use tideway_model::{Family, names};

use crate::{HostFacts, facts::mark_of};

/// Name of the verdict map of a family.
pub fn map_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "eni4",
        Family::V6 => "eni6",
    }
}

/// Name of the chain that sets the mark of a table slot.
pub fn chain_name(slot: u16) -> String {
    format!("eni_{slot}")
}

/// The table slot of a chain that [`chain_name`] named.
pub fn slot_of_chain(chain: &str) -> Option<u16> {
    chain.strip_prefix("eni_")?.parse().ok()
}

/// Removes the whole table. Fails when there is none.
pub fn delete_table() -> String {
    format!("delete table inet {}\n", names::NFT_TABLE)
}

/// The base of the table. Run again, it replaces the rules in one transaction and leaves the maps as they are.
pub fn base(facts: &HostFacts) -> String {
    let table = names::NFT_TABLE;
    let mut out = format!("add table inet {table}\n");
    for (family, kind) in [(Family::V4, "ipv4_addr"), (Family::V6, "ipv6_addr")] {
        line(
            &mut out,
            &format!("add map inet {table} {} {{ type {kind} : verdict; }}", map_name(family)),
        );
    }
    for (chain, hook) in [
        ("prerouting", "type filter hook prerouting priority mangle"),
        ("afterdnat", "type filter hook prerouting priority dstnat + 1"),
        ("postrouting", "type nat hook postrouting priority srcnat"),
    ] {
        line(&mut out, &format!("add chain inet {table} {chain} {{ {hook}; policy accept; }}"));
        line(&mut out, &format!("flush chain inet {table} {chain}"));
    }
    for (chain, rules) in [
        ("prerouting", prerouting(facts)),
        ("afterdnat", after_dnat(facts)),
        ("postrouting", postrouting(facts)),
    ] {
        for rule in rules {
            line(&mut out, &format!("add rule inet {table} {chain} {rule}"));
        }
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

const MASK: u32 = names::MARK_MASK;
const KEEP: u32 = !names::MARK_MASK;

fn set_ct(value: u32) -> String {
    format!("ct mark set ct mark & {KEEP:#010x} | {value:#010x}")
}

fn prerouting(facts: &HostFacts) -> Vec<String> {
    let primary = &facts.primary.ifname;
    let (node, peer, egress) = (names::CT_NODE, names::CT_PEER, names::CT_EGRESS);
    vec![
        format!("ct mark & {MASK:#010x} {{ {node:#010x}, {peer:#010x}, {egress:#010x} }} return"),
        format!("iifname \"{primary}\" ct state new {} return", set_ct(node)),
        format!("iifname \"{}*\" ct state new {} return", names::PEER_PREFIX, set_ct(peer)),
        format!("ip saddr vmap @{}", map_name(Family::V4)),
        format!("ip6 saddr vmap @{}", map_name(Family::V6)),
    ]
}

fn after_dnat(facts: &HostFacts) -> Vec<String> {
    let clear = format!("meta mark set meta mark & {KEEP:#010x}");
    let kube = names::KUBE_MASQUERADE;
    let mut rules = vec![format!(
        "ct state new meta mark & {MASK:#010x} != 0x00000000 meta mark & {kube:#010x} == {kube:#010x} {} {clear}",
        set_ct(names::CT_NODE)
    )];
    if !facts.external_snat {
        for (family, word) in [(Family::V4, "ip"), (Family::V6, "ip6")] {
            if let Some(inside) = set_of(&facts.vpc_blocks, family) {
                rules.push(format!(
                    "ct state new meta mark & {MASK:#010x} != 0x00000000 {word} daddr != {inside} {} {clear}",
                    set_ct(names::CT_EGRESS)
                ));
            }
        }
    }
    rules
}

fn postrouting(facts: &HostFacts) -> Vec<String> {
    let primary = &facts.primary.ifname;
    let (node, peer, egress) = (names::CT_NODE, names::CT_PEER, names::CT_EGRESS);
    let mut rules = vec![
        format!("ct mark & {MASK:#010x} == {peer:#010x} oifname \"{primary}\" masquerade"),
        format!("oifname \"{}*\" ct status dnat masquerade", names::PEER_PREFIX),
        format!(
            "ct mark & {MASK:#010x} == {node:#010x} oifname \"{primary}\" ct status dnat masquerade"
        ),
    ];
    if !facts.external_snat {
        rules.push(format!(
            "ct mark & {MASK:#010x} == {egress:#010x} oifname \"{primary}\" masquerade"
        ));
    }
    rules
}

/// An anonymous set of the blocks of a family, disjoint (nftables refuses overlapping intervals).
fn set_of(blocks: &[IpNet], family: Family) -> Option<String> {
    let mine: Vec<IpNet> =
        blocks.iter().filter(|b| Family::of(b.addr()) == family).map(IpNet::trunc).collect();
    let list: Vec<String> = IpNet::aggregate(&mine).iter().map(ToString::to_string).collect();
    (!list.is_empty()).then(|| format!("{{ {} }}", list.join(", ")))
}

/// Script that brings the maps from `now` to `wanted` in one transaction; empty when they are equal.
pub fn map_change(now: &BTreeMap<IpAddr, u16>, wanted: &BTreeMap<IpAddr, u16>) -> String {
    let table = names::NFT_TABLE;
    let mut out = String::new();
    let chains: BTreeSet<u16> = wanted
        .iter()
        .filter(|(ip, slot)| now.get(ip) != Some(slot))
        .map(|(_, slot)| *slot)
        .collect();
    for slot in chains {
        let (chain, mark) = (chain_name(slot), mark_of(slot));
        line(&mut out, &format!("add chain inet {table} {chain}"));
        line(&mut out, &format!("flush chain inet {table} {chain}"));
        line(
            &mut out,
            &format!(
                "add rule inet {table} {chain} meta mark set meta mark & {KEEP:#010x} | {mark:#010x}"
            ),
        );
    }
    for family in Family::BOTH {
        let leaving: Vec<String> = now
            .iter()
            .filter(|(ip, slot)| Family::of(**ip) == family && wanted.get(ip) != Some(slot))
            .map(|(ip, slot)| format!("{ip} : goto {}", chain_name(*slot)))
            .collect();
        elements(&mut out, "delete", family, &leaving);
    }
    for family in Family::BOTH {
        let coming: Vec<String> = wanted
            .iter()
            .filter(|(ip, slot)| Family::of(**ip) == family && now.get(ip) != Some(slot))
            .map(|(ip, slot)| format!("{ip} : goto {}", chain_name(*slot)))
            .collect();
        elements(&mut out, "add", family, &coming);
    }
    for slot in now.values().collect::<BTreeSet<_>>() {
        if !wanted.values().any(|other| other == slot) {
            line(&mut out, &format!("delete chain inet {table} {}", chain_name(*slot)));
        }
    }
    out
}

fn elements(out: &mut String, verb: &str, family: Family, list: &[String]) {
    if list.is_empty() {
        return;
    }
    let (table, map, list) = (names::NFT_TABLE, map_name(family), list.join(", "));
    // A String takes every write.
    writeln!(out, "{verb} element inet {table} {map} {{ {list} }}").unwrap_or_default();
}

#[cfg(test)]
mod tests;

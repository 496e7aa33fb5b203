//! Assign and Unassign of addresses and prefixes. The answers tell only what a call added or took.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::{Value, json};

use super::codes::Failure;
use crate::cloud::cause::Cause;
use crate::cloud::clock::Millis;
use crate::cloud::operations::address::{assign, changeable, unassign};
use crate::cloud::operations::wanted::{Chosen, Wanted};
use crate::cloud::params::Params;
use crate::cloud::resources::Eni;
use crate::cloud::vpc::Vpc;

/// Longest list of one call.
const BATCH: usize = 200;

/// How many addresses and prefixes a call wants to be chosen.
#[derive(Debug, Default)]
pub struct Counts {
    /// IPv4 addresses.
    pub v4: u32,
    /// IPv6 addresses.
    pub v6: u32,
    /// IPv4 prefixes.
    pub p4: u32,
    /// IPv6 prefixes.
    pub p6: u32,
}

impl Counts {
    /// Reads them; zero is as good as none.
    pub fn read(params: &Params) -> Result<Self, Failure> {
        let count = |name: &str| params.int_within(name, 0, 1000).map(Option::unwrap_or_default);
        Ok(Self {
            v4: count("SecondaryPrivateIpAddressCount")?,
            v6: count("Ipv6AddressCount")?,
            p4: count("Ipv4PrefixCount")?,
            p6: count("Ipv6PrefixCount")?,
        })
    }
}

/// Refuses when more than one of these parameters is given.
pub fn exclusive(given: &[(&'static str, bool)]) -> Result<(), Failure> {
    let mut names = given.iter().filter(|(_, there)| *there).map(|(name, _)| *name);
    match (names.next(), names.next()) {
        (Some(one), Some(other)) => Err(Cause::Exclusive(one, other).into()),
        _ => Ok(()),
    }
}

/// Prefixes from their texts.
pub fn prefixes(texts: &[String], ipv6: bool) -> Result<Vec<IpNet>, Failure> {
    let (family, length) = if ipv6 { ("IPv6", 80) } else { ("IPv4", 28) };
    let read = |text: &String| {
        text.parse::<IpNet>()
            .ok()
            .filter(|p| p.addr().is_ipv6() == ipv6 && p.prefix_len() == length)
            .ok_or_else(|| {
                Failure::value(format!("{text} is no {family} prefix of length {length}"))
            })
    };
    texts.iter().map(read).collect()
}

/// The ENI of the call. Prefixes need an instance type of the Nitro system, when there is one.
fn target(vpc: &Vpc, params: &Params, with_prefixes: bool, now: Millis) -> Result<Eni, Failure> {
    let eni = changeable(vpc, params.need("NetworkInterfaceId")?, now)?;
    if with_prefixes && vpc.type_of(&eni).is_some_and(|t| t.hypervisor == "xen") {
        return Err(Failure::bad(
            "UnsupportedOperation",
            "The instance type does not support prefixes on its network interfaces",
        ));
    }
    Ok(eni)
}

fn objects<T: ToString>(list: impl IntoIterator<Item = T>, name: &str) -> Value {
    list.into_iter().map(|one| json!({ name: one.to_string() })).collect()
}

fn texts<T: ToString>(list: impl IntoIterator<Item = T>) -> Value {
    list.into_iter().map(|one| json!(one.to_string())).collect()
}

/// `AssignPrivateIpAddresses`.
pub fn assign_v4(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, Failure> {
    let counts = Counts::read(params)?;
    let wanted = Wanted {
        v4: params.v4_list("PrivateIpAddress", BATCH)?,
        v4_count: counts.v4,
        prefixes: prefixes(&params.list_up_to("Ipv4Prefix", BATCH)?, false)?,
        p4_count: counts.p4,
        reassign: params.flag("AllowReassignment")?.unwrap_or(false),
        ..Wanted::default()
    };
    exclusive(&[
        ("PrivateIpAddresses", !wanted.v4.is_empty()),
        ("SecondaryPrivateIpAddressCount", wanted.v4_count > 0),
        ("Ipv4Prefixes", !wanted.prefixes.is_empty()),
        ("Ipv4PrefixCount", wanted.p4_count > 0),
    ])?;
    let eni = target(vpc, params, wanted.has_prefixes(), now)?;
    if wanted.slots_v4() == 0 {
        return Err(Cause::Missing("secondaryPrivateIpAddressCount".to_owned()).into());
    }
    let id = eni.id.clone();
    let Chosen { addresses, prefixes } = assign(vpc, eni, &wanted, now)?;
    Ok(json!({
        "networkInterfaceId": id,
        "assignedPrivateIpAddressesSet": objects(addresses, "privateIpAddress"),
        "assignedIpv4PrefixSet": objects(prefixes, "ipv4Prefix"),
        "return": true,
    }))
}

/// `AssignIpv6Addresses`.
pub fn assign_v6(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, Failure> {
    let counts = Counts::read(params)?;
    let wanted = Wanted {
        v6: params.v6_list("Ipv6Addresses", BATCH)?,
        v6_count: counts.v6,
        prefixes: prefixes(&params.list_up_to("Ipv6Prefix", BATCH)?, true)?,
        p6_count: counts.p6,
        ..Wanted::default()
    };
    exclusive(&[
        ("Ipv6Addresses", !wanted.v6.is_empty()),
        ("Ipv6AddressCount", wanted.v6_count > 0),
        ("Ipv6Prefixes", !wanted.prefixes.is_empty()),
        ("Ipv6PrefixCount", wanted.p6_count > 0),
    ])?;
    let eni = target(vpc, params, wanted.has_prefixes(), now)?;
    if wanted.slots_v6() == 0 {
        return Err(Cause::Missing("ipv6AddressCount".to_owned()).into());
    }
    let id = eni.id.clone();
    let Chosen { addresses, prefixes } = assign(vpc, eni, &wanted, now)?;
    Ok(json!({
        "networkInterfaceId": id,
        "assignedIpv6Addresses": texts(addresses),
        "assignedIpv6PrefixSet": texts(prefixes),
    }))
}

/// `UnassignPrivateIpAddresses`: all or nothing.
pub fn unassign_v4(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, Failure> {
    let named: Vec<Ipv4Addr> = params.v4_list("PrivateIpAddress", BATCH)?;
    let prefixes = prefixes(&params.list_up_to("Ipv4Prefix", BATCH)?, false)?;
    let eni = target(vpc, params, false, now)?;
    if named.is_empty() && prefixes.is_empty() {
        return Err(Cause::Missing("privateIpAddress".to_owned()).into());
    }
    let addresses: Vec<IpAddr> = named.into_iter().map(IpAddr::V4).collect();
    unassign(vpc, eni, &addresses, &prefixes, now)?;
    Ok(json!({ "return": true }))
}

/// `UnassignIpv6Addresses`: all or nothing.
pub fn unassign_v6(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, Failure> {
    let named: Vec<Ipv6Addr> = params.v6_list("Ipv6Addresses", BATCH)?;
    let prefixes = prefixes(&params.list_up_to("Ipv6Prefix", BATCH)?, true)?;
    let eni = target(vpc, params, false, now)?;
    if named.is_empty() && prefixes.is_empty() {
        return Err(Cause::Missing("ipv6Addresses".to_owned()).into());
    }
    let id = eni.id.clone();
    let addresses: Vec<IpAddr> = named.into_iter().map(IpAddr::V6).collect();
    unassign(vpc, eni, &addresses, &prefixes, now)?;
    Ok(json!({
        "networkInterfaceId": id,
        "unassignedIpv6Addresses": texts(addresses),
        "unassignedIpv6PrefixSet": texts(prefixes),
    }))
}

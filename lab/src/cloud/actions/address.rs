//! Assign and Unassign of addresses and prefixes.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::check_region;
use super::eni::{prefixes, wanted};
use crate::cloud::clock::Millis;
use crate::cloud::error::ApiError;
use crate::cloud::operations::address::{assign, changeable, unassign};
use crate::cloud::params::Params;
use crate::cloud::resources::Eni;
use crate::cloud::vpc::Vpc;

/// Addresses that one call may name or ask for.
const BATCH: u32 = 49;

fn target(vpc: &Vpc, params: &Params, now: Millis) -> Result<Eni, ApiError> {
    check_region(vpc, params, true)?;
    Ok(changeable(vpc, params.need("NetworkInterfaceId")?, now)?)
}

fn texts<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// `AssignPrivateIpAddresses`.
pub fn assign_v4(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, ApiError> {
    let eni = target(vpc, params, now)?;
    let id = eni.id.clone();
    let mut wanted = wanted(params, BATCH, 49)?;
    wanted.v6 = Vec::new();
    wanted.v6_count = 0;
    wanted.p6_count = 0;
    wanted.prefixes.retain(|p| p.addr().is_ipv4());
    if wanted.slots_v4() == 0 {
        return Err(ApiError::missing("SecondaryPrivateIpAddressCount"));
    }
    let got = assign(vpc, eni, &wanted, now)?;
    Ok(json!({
        "AssignedPrivateIpAddressesSet": {
            "NetworkInterfaceId": id,
            "PrivateIpSet": { "PrivateIpAddress": texts(&got.addresses) },
            "Ipv4PrefixSet": { "Ipv4Prefixes": texts(&got.prefixes) },
        },
    }))
}

/// `AssignIpv6Addresses`.
pub fn assign_v6(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, ApiError> {
    let eni = target(vpc, params, now)?;
    let id = eni.id.clone();
    let mut wanted = wanted(params, BATCH, 49)?;
    wanted.v4 = Vec::new();
    wanted.v4_count = 0;
    wanted.p4_count = 0;
    wanted.prefixes.retain(|p| p.addr().is_ipv6());
    if wanted.slots_v6() == 0 {
        return Err(ApiError::missing("Ipv6AddressCount"));
    }
    let got = assign(vpc, eni, &wanted, now)?;
    Ok(json!({
        "NetworkInterfaceId": id,
        "Ipv6Sets": { "Ipv6Address": texts(&got.addresses) },
        "Ipv6PrefixSets": { "Ipv6Prefix": texts(&got.prefixes) },
    }))
}

/// `UnassignPrivateIpAddresses`: all or nothing.
pub fn unassign_v4(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, ApiError> {
    let eni = target(vpc, params, now)?;
    let addresses: Vec<IpAddr> =
        params.v4_list("PrivateIpAddress", 49)?.into_iter().map(IpAddr::V4).collect();
    let prefixes = prefixes(params, "Ipv4Prefix")?;
    if addresses.is_empty() && prefixes.is_empty() {
        return Err(ApiError::missing("PrivateIpAddress"));
    }
    unassign(vpc, eni, &addresses, &prefixes, now)?;
    Ok(json!({}))
}

/// `UnassignIpv6Addresses`: all or nothing.
pub fn unassign_v6(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, ApiError> {
    let eni = target(vpc, params, now)?;
    let addresses: Vec<IpAddr> =
        params.v6_list("Ipv6Address", 10)?.into_iter().map(IpAddr::V6).collect();
    let prefixes = prefixes(params, "Ipv6Prefix")?;
    if addresses.is_empty() && prefixes.is_empty() {
        return Err(ApiError::missing("Ipv6Address"));
    }
    unassign(vpc, eni, &addresses, &prefixes, now)?;
    Ok(json!({}))
}

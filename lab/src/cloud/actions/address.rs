//! Assign and Unassign of addresses and prefixes.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::eni::{Wanted, check_groups, check_vpc_quota, prefixes};
use super::{check_region, no_address, refused};
use crate::cloud::clock::Millis;
use crate::cloud::error::ApiError;
use crate::cloud::latency::Work;
use crate::cloud::params::Params;
use crate::cloud::resources::{Eni, EniState};
use crate::cloud::vpc::Vpc;

/// Addresses of an ENI that is not attached: the API page's figure.
const LOOSE_V4: u32 = 49;
/// IPv6 addresses of an ENI that is not attached.
const LOOSE_V6: u32 = 10;

/// The per-ENI limit of a family is reached; `family` is `Ipv4` or `Ipv6`.
pub fn too_many(family: &str) -> ApiError {
    ApiError::forbidden(
        &format!("InvalidOperation.{family}CountExceeded"),
        format!("The limit of {family} addresses of one network interface is reached."),
    )
}

/// The ENI, when addresses of it may be changed now.
fn changeable(vpc: &Vpc, params: &Params, now: Millis) -> Result<Eni, ApiError> {
    check_region(vpc, params, true)?;
    let id = params.need("NetworkInterfaceId")?;
    let eni = vpc.eni(id)?.clone();
    match eni.state {
        EniState::Available | EniState::InUse => {}
        EniState::Attaching | EniState::Detaching | EniState::Deleting => {
            return Err(ApiError::eni_state(id, eni.state.word()));
        }
    }
    if let Some(instance) = eni.instance.as_deref().and_then(|i| vpc.instances.get(i))
        && eni.primary
        && !instance.status.settled()
    {
        return Err(ApiError::forbidden(
            "IncorrectInstanceStatus",
            format!("The instance {} is {}.", instance.id, instance.status.word()),
        ));
    }
    if now < eni.busy_until {
        return Err(ApiError::forbidden(
            "Operation.Conflict",
            format!("Another change of the network interface {id} is in work: try again."),
        ));
    }
    Ok(eni)
}

/// How long this call takes; until then another change of the same ENI conflicts.
fn occupy(vpc: &mut Vpc, eni: &mut Eni, now: Millis) {
    let takes = vpc.draw(Work::Assign);
    eni.busy_until = now.saturating_add(takes);
}

fn assign(
    vpc: &mut Vpc,
    mut eni: Eni,
    wanted: &Wanted,
    now: Millis,
) -> Result<(Vec<IpAddr>, Vec<IpNet>), ApiError> {
    let limits = vpc.type_of(&eni);
    let limit = |published: Option<u32>, loose: u32| {
        usize::try_from(published.unwrap_or(loose)).unwrap_or(usize::MAX)
    };
    let v4 = limit(limits.map(|t| t.eni_private_ip_address_quantity), LOOSE_V4);
    let v6 = limit(limits.map(|t| t.eni_ipv6_address_quantity), LOOSE_V6);
    if wanted.slots_v4() > 0 && eni.slots_v4() + wanted.slots_v4() > v4 {
        return Err(too_many("Ipv4"));
    }
    if wanted.slots_v6() > 0 && eni.slots_v6() + wanted.slots_v6() > v6 {
        return Err(too_many("Ipv6"));
    }
    if wanted.slots_v4() > 0 {
        check_vpc_quota(vpc, wanted.slots_v4())?;
        check_groups(vpc, &eni.groups, wanted.slots_v4())?;
    }
    let vswitch = vpc.vswitch(&eni.vswitch)?.clone();
    if vpc.subnet_is_full(&vswitch, now) {
        return Err(no_address());
    }
    let chosen = wanted.choose(&vswitch.space, false, &mut vpc.dice)?;
    for address in &chosen.addresses {
        vpc.take(&mut eni, *address, now).map_err(|r| refused(r, &address.to_string()))?;
    }
    for prefix in &chosen.prefixes {
        vpc.take_prefix(&mut eni, *prefix).map_err(|r| refused(r, &prefix.to_string()))?;
    }
    occupy(vpc, &mut eni, now);
    vpc.order_update(&eni);
    vpc.put(eni);
    Ok((chosen.addresses, chosen.prefixes))
}

/// `AssignPrivateIpAddresses`.
pub fn assign_v4(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, ApiError> {
    let eni = changeable(vpc, params, now)?;
    let id = eni.id.clone();
    let mut wanted = Wanted::read(params, LOOSE_V4, 49)?;
    wanted.v6 = Vec::new();
    wanted.v6_count = 0;
    wanted.p6_count = 0;
    wanted.prefixes.retain(|p| p.addr().is_ipv4());
    if wanted.slots_v4() == 0 {
        return Err(ApiError::missing("SecondaryPrivateIpAddressCount"));
    }
    let (addresses, prefixes) = assign(vpc, eni, &wanted, now)?;
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
    Ok(json!({
        "AssignedPrivateIpAddressesSet": {
            "NetworkInterfaceId": id,
            "PrivateIpSet": { "PrivateIpAddress": addresses },
            "Ipv4PrefixSet": { "Ipv4Prefixes": prefixes },
        },
    }))
}

/// `AssignIpv6Addresses`.
pub fn assign_v6(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, ApiError> {
    let eni = changeable(vpc, params, now)?;
    let id = eni.id.clone();
    let mut wanted = Wanted::read(params, LOOSE_V4, 49)?;
    wanted.v4 = Vec::new();
    wanted.v4_count = 0;
    wanted.p4_count = 0;
    wanted.prefixes.retain(|p| p.addr().is_ipv6());
    if wanted.slots_v6() == 0 {
        return Err(ApiError::missing("Ipv6AddressCount"));
    }
    let (addresses, prefixes) = assign(vpc, eni, &wanted, now)?;
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
    Ok(json!({
        "NetworkInterfaceId": id,
        "Ipv6Sets": { "Ipv6Address": addresses },
        "Ipv6PrefixSets": { "Ipv6Prefix": prefixes },
    }))
}

fn unassign(
    vpc: &mut Vpc,
    mut eni: Eni,
    addresses: &[IpAddr],
    prefixes: &[IpNet],
    now: Millis,
) -> Result<Value, ApiError> {
    for address in addresses {
        if !eni.addresses().any(|a| a == *address) {
            return Err(unassigned(&address.to_string()));
        }
        if eni.v4.first().is_some_and(|primary| IpAddr::V4(*primary) == *address) {
            return Err(ApiError::forbidden(
                "InvalidOperation.PrimaryIpAddress",
                "The primary address of a network interface cannot be unassigned.",
            ));
        }
    }
    if let Some(prefix) = prefixes.iter().find(|p| !eni.prefixes.contains(p)) {
        return Err(unassigned(&prefix.to_string()));
    }
    for address in addresses {
        vpc.give_back(&mut eni, *address, now);
    }
    for prefix in prefixes {
        vpc.give_back_prefix(&mut eni, *prefix);
    }
    occupy(vpc, &mut eni, now);
    vpc.order_update(&eni);
    vpc.put(eni);
    Ok(json!({}))
}

fn unassigned(what: &str) -> ApiError {
    ApiError::forbidden(
        "InvalidIp.IpUnassigned",
        format!("{what} is not assigned to the network interface."),
    )
}

/// `UnassignPrivateIpAddresses`: all or nothing.
pub fn unassign_v4(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, ApiError> {
    let eni = changeable(vpc, params, now)?;
    let addresses: Vec<IpAddr> =
        params.v4_list("PrivateIpAddress", 49)?.into_iter().map(IpAddr::V4).collect();
    let prefixes = prefixes(params, "Ipv4Prefix")?;
    if addresses.is_empty() && prefixes.is_empty() {
        return Err(ApiError::missing("PrivateIpAddress"));
    }
    unassign(vpc, eni, &addresses, &prefixes, now)
}

/// `UnassignIpv6Addresses`: all or nothing.
pub fn unassign_v6(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, ApiError> {
    let eni = changeable(vpc, params, now)?;
    let addresses: Vec<IpAddr> =
        params.v6_list("Ipv6Address", 10)?.into_iter().map(IpAddr::V6).collect();
    let prefixes = prefixes(params, "Ipv6Prefix")?;
    if addresses.is_empty() && prefixes.is_empty() {
        return Err(ApiError::missing("Ipv6Address"));
    }
    unassign(vpc, eni, &addresses, &prefixes, now)
}

//! Create, Delete and Modify of an ENI.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::shape;
use super::{check_description, check_name, check_region, check_tag};
use crate::cloud::cause::Cause;
use crate::cloud::clock::Millis;
use crate::cloud::error::ApiError;
use crate::cloud::operations::{self, wanted::Wanted};
use crate::cloud::params::Params;
use crate::cloud::resources::EniState;
use crate::cloud::vpc::Vpc;

/// Longest lists of one call.
const BATCH: u32 = 10;
/// Groups per ENI.
const GROUPS: usize = 10;
/// Tags per resource.
pub const TAGS: usize = 20;

/// Reads the address parameters; the limits differ between Create and Assign.
pub fn wanted(params: &Params, max_count: u32, max_list: usize) -> Result<Wanted, ApiError> {
    let list_max = usize::try_from(BATCH).unwrap_or(10);
    let count = params.int_within("SecondaryPrivateIpAddressCount", 1, max_count)?;
    let v6_count = params.int_within("Ipv6AddressCount", 1, BATCH)?;
    let p4_count = params.int_within("Ipv4PrefixCount", 1, BATCH)?;
    let p6_count = params.int_within("Ipv6PrefixCount", 1, BATCH)?;
    let v4 = params.v4_list("PrivateIpAddress", max_list)?;
    let v6 = params.v6_list("Ipv6Address", list_max)?;
    let p4 = prefixes(params, "Ipv4Prefix")?;
    let p6 = prefixes(params, "Ipv6Prefix")?;
    let both = [
        (!v4.is_empty(), count.is_some(), "PrivateIpAddress", "SecondaryPrivateIpAddressCount"),
        (!v6.is_empty(), v6_count.is_some(), "Ipv6Address", "Ipv6AddressCount"),
        (!p4.is_empty(), p4_count.is_some(), "Ipv4Prefix", "Ipv4PrefixCount"),
        (!p6.is_empty(), p6_count.is_some(), "Ipv6Prefix", "Ipv6PrefixCount"),
    ];
    for (list, number, one, other) in both {
        if list && number {
            return Err(Cause::Exclusive(one, other).into());
        }
    }
    Ok(Wanted {
        primary: None,
        v4,
        v4_count: count.unwrap_or(0),
        v6,
        v6_count: v6_count.unwrap_or(0),
        prefixes: p4.into_iter().chain(p6).collect(),
        p4_count: p4_count.unwrap_or(0),
        p6_count: p6_count.unwrap_or(0),
        reassign: false,
    })
}

/// The prefixes of `name.N`.
pub fn prefixes(params: &Params, name: &str) -> Result<Vec<IpNet>, ApiError> {
    let ipv6 = name.starts_with("Ipv6");
    params
        .list_up_to(name, 10)?
        .iter()
        .map(|text| {
            text.parse::<IpNet>()
                .ok()
                .filter(|p| p.addr().is_ipv6() == ipv6)
                .ok_or_else(|| ApiError::invalid(name, &format!("{text} is no prefix")))
        })
        .collect()
}

fn group_ids(vpc: &Vpc, params: &Params, list: &str) -> Result<Vec<String>, ApiError> {
    let ids = params.list_up_to(list, GROUPS)?;
    for id in &ids {
        if !vpc.groups.contains_key(id) {
            return Err(Cause::NoGroup(id.clone()).into());
        }
    }
    Ok(ids)
}

/// `CreateNetworkInterface`.
pub fn create(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, ApiError> {
    check_region(vpc, params, true)?;
    let vswitch = vpc.vswitch(params.need("VSwitchId")?)?.clone();
    let mut groups = group_ids(vpc, params, "SecurityGroupIds")?;
    match params.get("SecurityGroupId") {
        Some(_) if !groups.is_empty() => {
            return Err(Cause::Exclusive("SecurityGroupId", "SecurityGroupIds.N").into());
        }
        Some(id) if !vpc.groups.contains_key(id) => {
            return Err(Cause::NoGroup(id.to_owned()).into());
        }
        Some(id) => groups.push(id.to_owned()),
        None if groups.is_empty() => return Err(ApiError::missing("SecurityGroupId")),
        None => {}
    }
    match params.get("InstanceType") {
        None | Some("Secondary") => {}
        Some("Trunk") => {
            return Err(ApiError::forbidden(
                "InvalidInstanceType.ValueNotSupported",
                "This lab has no trunk interfaces.",
            ));
        }
        Some(_) => return Err(ApiError::invalid("InstanceType", "neither Secondary nor Trunk")),
    }
    let mode = params.get("NetworkInterfaceTrafficMode").unwrap_or("Standard");
    if !["Standard", "HighPerformance"].contains(&mode) {
        return Err(ApiError::invalid("NetworkInterfaceTrafficMode", "unknown mode"));
    }
    let mut wanted = wanted(params, 49, 10)?;
    wanted.primary = match params.get("PrimaryIpAddress") {
        None => None,
        Some(text) => Some(
            text.parse()
                .ok()
                .ok_or_else(|| ApiError::invalid("PrimaryIpAddress", "no IPv4 address"))?,
        ),
    };
    let tags = read_tags(params)?;
    if let Some(name) = params.get("NetworkInterfaceName") {
        check_name(name)?;
    }
    if let Some(text) = params.get("Description") {
        check_description(text, 256)?;
    }
    let queues = params.int_within("QueueNumber", 1, 2048)?;
    let delete_on_release = params.flag("DeleteOnRelease")?.unwrap_or(true);
    let source_dest_check = params.flag("SourceDestCheck")?.unwrap_or(false);

    let mut eni = operations::eni::create(vpc, &vswitch, groups, &wanted, now)?;
    eni.tags = tags;
    params.get("NetworkInterfaceName").unwrap_or_default().clone_into(&mut eni.name);
    params.get("Description").unwrap_or_default().clone_into(&mut eni.description);
    params.get("ResourceGroupId").unwrap_or_default().clone_into(&mut eni.resource_group);
    mode.clone_into(&mut eni.traffic_mode);
    eni.queues = queues;
    eni.delete_on_release = delete_on_release;
    eni.source_dest_check = source_dest_check;
    let answer = Value::Object(shape::eni_core(vpc, &eni));
    vpc.put(eni);
    Ok(answer)
}

/// Tags of a Create call.
fn read_tags(params: &Params) -> Result<BTreeMap<String, String>, ApiError> {
    let mut tags = BTreeMap::new();
    for (key, value) in params.tags(TAGS)? {
        let value = value.unwrap_or_default();
        check_tag(&key, &value)?;
        if tags.insert(key.clone(), value).is_some() {
            return Err(ApiError::new(400, "Duplicate.TagKey", format!("{key} is given twice.")));
        }
    }
    Ok(tags)
}

/// `DeleteNetworkInterface`.
pub fn delete(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, ApiError> {
    check_region(vpc, params, true)?;
    operations::eni::delete(vpc, params.need("NetworkInterfaceId")?, now)?;
    Ok(json!({}))
}

/// `ModifyNetworkInterfaceAttribute`.
pub fn modify(vpc: &mut Vpc, params: &Params, _now: Millis) -> Result<Value, ApiError> {
    check_region(vpc, params, true)?;
    let id = params.need("NetworkInterfaceId")?;
    let mut eni = vpc.eni(id)?.clone();
    let groups = group_ids(vpc, params, "SecurityGroupId")?;
    if let Some(name) = params.get("NetworkInterfaceName") {
        check_name(name)?;
        name.clone_into(&mut eni.name);
    }
    if let Some(text) = params.get("Description") {
        check_description(text, 255)?;
        text.clone_into(&mut eni.description);
    }
    if let Some(flag) = params.flag("DeleteOnRelease")? {
        eni.delete_on_release = flag;
    }
    if let Some(flag) = params.flag("SourceDestCheck")? {
        eni.source_dest_check = flag;
    }
    if let Some(queues) = params.int_within("QueueNumber", 1, 2048)? {
        let stopped = eni
            .instance
            .as_deref()
            .and_then(|i| vpc.instances.get(i))
            .is_some_and(|i| i.status == crate::cloud::resources::InstanceStatus::Stopped);
        if eni.state != EniState::Available && !stopped {
            return Err(ApiError::eni_state(id, eni.state.word()));
        }
        let most = vpc.type_of(&eni).map(|t| t.maximum_queue_number_per_eni);
        if most.is_some_and(|most| queues > most) {
            return Err(ApiError::invalid("QueueNumber", "more than the instance type has"));
        }
        eni.queues = Some(queues);
    }
    eni.tracking = tracking(params, eni.tracking)?;
    if !groups.is_empty() {
        operations::eni::join(vpc, &mut eni, groups)?;
    }
    operations::eni::modified(vpc, eni);
    Ok(json!({}))
}

/// Timeouts of connection tracking, only the published values.
fn tracking(params: &Params, [established, closed, udp]: [u32; 3]) -> Result<[u32; 3], ApiError> {
    let read = |field: &str, old: u32, allowed: &[u32]| -> Result<u32, ApiError> {
        let name = format!("ConnectionTrackingConfiguration.{field}");
        match params.int(&name)? {
            None => Ok(old),
            Some(value) if allowed.contains(&value) => Ok(value),
            Some(_) => Err(ApiError::invalid(&name, "not one of the allowed seconds")),
        }
    };
    let short: Vec<u32> = (3..=15).collect();
    Ok([
        read("TcpEstablishedTimeout", established, &[30, 60, 80, 100, 200, 300, 500, 700, 910])?,
        read("TcpClosedAndTimeWaitTimeout", closed, &short)?,
        read("UdpTimeout", udp, &[10, 20, 30, 60, 80, 100])?,
    ])
}

//! Create, Delete and Modify of an ENI.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::{Value, json};

use super::shape;
use super::{check_description, check_name, check_region, check_tag, no_address, refused};
use crate::cloud::addresses::AddressSpace;
use crate::cloud::clock::Millis;
use crate::cloud::dice::Dice;
use crate::cloud::error::ApiError;
use crate::cloud::latency::Work;
use crate::cloud::params::Params;
use crate::cloud::resources::EniState;
use crate::cloud::vpc::{Effect, Vpc};

/// Longest lists of one call.
const BATCH: u32 = 10;
/// Groups per ENI.
const GROUPS: usize = 10;
/// Tags per resource.
pub const TAGS: usize = 20;

/// What a call asks for in addresses.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The primary address, when named.
    pub primary: Option<Ipv4Addr>,
    /// Named secondary addresses.
    pub v4: Vec<Ipv4Addr>,
    /// Secondary addresses to be chosen.
    pub v4_count: u32,
    /// Named IPv6 addresses.
    pub v6: Vec<Ipv6Addr>,
    /// IPv6 addresses to be chosen.
    pub v6_count: u32,
    /// Named prefixes.
    pub prefixes: Vec<IpNet>,
    /// IPv4 prefixes to be chosen.
    pub p4_count: u32,
    /// IPv6 prefixes to be chosen.
    pub p6_count: u32,
}

/// Addresses chosen for a call, not yet taken.
#[derive(Debug, Default)]
pub struct Chosen {
    /// In the order of assignment.
    pub addresses: Vec<IpAddr>,
    /// In the order of assignment.
    pub prefixes: Vec<IpNet>,
}

impl Wanted {
    /// Reads the address parameters; `count_name` and its limits differ between Create and Assign.
    pub fn read(params: &Params, max_count: u32, max_list: usize) -> Result<Self, ApiError> {
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
                return Err(ApiError::conflict(one, other));
            }
        }
        Ok(Self {
            primary: None,
            v4,
            v4_count: count.unwrap_or(0),
            v6,
            v6_count: v6_count.unwrap_or(0),
            prefixes: p4.into_iter().chain(p6).collect(),
            p4_count: p4_count.unwrap_or(0),
            p6_count: p6_count.unwrap_or(0),
        })
    }

    /// IPv4 slots that this takes.
    pub fn slots_v4(&self) -> usize {
        let named = self.v4.len() + self.prefixes.iter().filter(|p| p.addr().is_ipv4()).count();
        named + usize::try_from(self.v4_count + self.p4_count).unwrap_or(usize::MAX / 2)
    }

    /// IPv6 slots that this takes.
    pub fn slots_v6(&self) -> usize {
        let named = self.v6.len() + self.prefixes.iter().filter(|p| p.addr().is_ipv6()).count();
        named + usize::try_from(self.v6_count + self.p6_count).unwrap_or(usize::MAX / 2)
    }

    /// Chooses on a copy of the space, so that a refusal leaves nothing behind.
    pub fn choose(
        &self,
        space: &AddressSpace,
        new_eni: bool,
        dice: &mut Dice,
    ) -> Result<Chosen, ApiError> {
        let mut space = space.clone();
        let mut chosen = Chosen::default();
        let mut take = |space: &mut AddressSpace, address: IpAddr| -> Result<(), ApiError> {
            if chosen.addresses.contains(&address) {
                return Err(ApiError::new(
                    400,
                    "InvalidIp.IpRepeated",
                    format!("{address} is given more than once."),
                ));
            }
            space.hold(address, "chosen").map_err(|r| refused(r, &address.to_string()))?;
            chosen.addresses.push(address);
            Ok(())
        };
        if let Some(primary) = self.primary {
            take(&mut space, primary.into())?;
        }
        // Named ones first: a chosen one must not take a named one's place. The primary still comes first in order.
        let mut named: Vec<IpAddr> = self.v4.iter().copied().map(IpAddr::V4).collect();
        named.extend(self.v6.iter().copied().map(IpAddr::V6));
        let mut count = self.v4_count;
        if new_eni && self.primary.is_none() {
            let mut reserved = space.clone();
            for address in &named {
                reserved.hold(*address, "named").map_err(|r| refused(r, &address.to_string()))?;
            }
            let primary = reserved.find_v4().map_err(|r| refused(r, "address"))?;
            take(&mut space, primary.into())?;
        }
        for address in named {
            take(&mut space, address)?;
        }
        while count > 0 {
            let address = space.find_v4().map_err(|r| refused(r, "address"))?;
            take(&mut space, address.into())?;
            count -= 1;
        }
        for _ in 0..self.v6_count {
            let address = space.find_v6(dice).map_err(|r| refused(r, "IPv6 address"))?;
            take(&mut space, address.into())?;
        }
        for prefix in &self.prefixes {
            space.hold_prefix(*prefix, "chosen").map_err(|r| refused(r, &prefix.to_string()))?;
            chosen.prefixes.push(*prefix);
        }
        for (ipv6, count) in [(false, self.p4_count), (true, self.p6_count)] {
            for _ in 0..count {
                let prefix = space.find_prefix(ipv6).map_err(|r| refused(r, "prefix"))?;
                space.hold_prefix(prefix, "chosen").map_err(|r| refused(r, "prefix"))?;
                chosen.prefixes.push(prefix);
            }
        }
        Ok(chosen)
    }
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
            return Err(ApiError::not_found("InvalidSecurityGroupId.NotFound", "security group"));
        }
    }
    Ok(ids)
}

/// Refuses when a group would hold more addresses than the account may.
pub fn check_groups(vpc: &Vpc, groups: &[String], more: usize) -> Result<(), ApiError> {
    let limit = usize::try_from(vpc.config.quotas.addresses_per_group).unwrap_or(usize::MAX);
    for group in groups {
        let members = vpc.enis().values().filter(|e| e.groups.contains(group)).map(|e| e.v4.len());
        if members.sum::<usize>() + more > limit {
            return Err(ApiError::forbidden(
                "SecurityGroupInstanceLimitExceed",
                format!("The security group {group} cannot hold more addresses."),
            ));
        }
    }
    Ok(())
}

/// Refuses when the VPC would hold more addresses than the account may.
pub fn check_vpc_quota(vpc: &Vpc, more: usize) -> Result<(), ApiError> {
    let limit = usize::try_from(vpc.config.quotas.addresses_per_vpc).unwrap_or(usize::MAX);
    let used: usize = vpc.enis().values().map(|e| e.v4.len()).sum();
    if used + more > limit {
        return Err(ApiError::forbidden(
            "QuotaExceeded.PrivateIpAddress",
            "The quota of private IP addresses in the VPC is used up.",
        ));
    }
    Ok(())
}

/// `CreateNetworkInterface`.
pub fn create(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, ApiError> {
    check_region(vpc, params, true)?;
    let vswitch = vpc.vswitch(params.need("VSwitchId")?)?.clone();
    let mut groups = group_ids(vpc, params, "SecurityGroupIds")?;
    match params.get("SecurityGroupId") {
        Some(_) if !groups.is_empty() => {
            return Err(ApiError::conflict("SecurityGroupId", "SecurityGroupIds.N"));
        }
        Some(id) if !vpc.groups.contains_key(id) => {
            return Err(ApiError::not_found("InvalidSecurityGroupId.NotFound", "security group"));
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
    let mut wanted = Wanted::read(params, 49, 10)?;
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

    let secondary = vpc.enis().values().filter(|e| !e.primary).count();
    if secondary >= usize::try_from(vpc.config.quotas.enis).unwrap_or(usize::MAX) {
        return Err(ApiError::forbidden(
            "MaxEniCountExceeded",
            "The maximum number of network interfaces in the region is reached.",
        ));
    }
    check_vpc_quota(vpc, wanted.slots_v4() + 1)?;
    check_groups(vpc, &groups, wanted.slots_v4() + 1)?;
    if vpc.subnet_is_full(&vswitch, now) {
        return Err(no_address());
    }
    let chosen = wanted.choose(&vswitch.space, true, &mut vpc.dice)?;

    let mut eni = vpc.blank_eni(&vswitch.id, groups, now);
    for address in chosen.addresses {
        vpc.take(&mut eni, address, now).map_err(|r| refused(r, &address.to_string()))?;
    }
    for prefix in chosen.prefixes {
        vpc.take_prefix(&mut eni, prefix).map_err(|r| refused(r, &prefix.to_string()))?;
    }
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
    let id = params.need("NetworkInterfaceId")?;
    let mut eni = vpc.eni(id)?.clone();
    if eni.state == EniState::Deleting {
        return Ok(json!({}));
    }
    if eni.state != EniState::Available || eni.primary {
        return Err(ApiError::eni_state(id, eni.state.word()));
    }
    let takes = vpc.draw(Work::Delete);
    eni.state = EniState::Deleting;
    eni.due = Some(now.saturating_add(takes));
    vpc.put(eni);
    vpc.tick(now);
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
        let joined: Vec<String> =
            groups.iter().filter(|g| !eni.groups.contains(g)).cloned().collect();
        check_groups(vpc, &joined, eni.v4.len())?;
        eni.groups = groups;
    }
    let attached = eni.instance.is_some();
    vpc.put(eni);
    if attached {
        vpc.order(Effect::Groups);
    }
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

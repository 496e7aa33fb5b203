//! Create, Delete and Modify of an ENI.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use super::address::{exclusive, prefixes};
use super::codes::Failure;
use super::shape;
use super::tag::{TAGS, check_tag};
use crate::cloud::cause::Cause;
use crate::cloud::clock::Millis;
use crate::cloud::operations::{self, wanted::Wanted};
use crate::cloud::params::Params;
use crate::cloud::resources::Eni;
use crate::cloud::vpc::Vpc;

/// Groups per ENI.
const GROUPS: usize = 5;
/// Longest description.
const DESCRIPTION: usize = 255;

/// The groups with the ids of a call, or the one named `default`.
fn groups(vpc: &Vpc, params: &Params) -> Result<Vec<String>, Failure> {
    let ids = params.list("SecurityGroupId");
    if ids.len() > GROUPS {
        return Err(Failure::bad(
            "SecurityGroupsPerInterfaceLimitExceeded",
            format!("The maximum number of security groups per interface is {GROUPS}"),
        ));
    }
    if let Some(id) = ids.iter().find(|id| !vpc.groups.contains_key(*id)) {
        return Err(Cause::NoGroup(id.clone()).into());
    }
    if ids.is_empty() {
        let named = vpc.groups.values().find(|g| g.name == "default");
        return Ok(named
            .or_else(|| vpc.groups.values().next())
            .map(|g| g.id.clone())
            .into_iter()
            .collect());
    }
    Ok(ids)
}

fn address<A: std::str::FromStr>(text: &str) -> Result<A, Failure> {
    text.parse().ok().ok_or_else(|| Cause::NoAddress(text.to_owned()).into())
}

/// What a Create asks for in addresses.
fn wanted(params: &Params) -> Result<Wanted, Failure> {
    let mut primary: Option<Ipv4Addr> = match params.get("PrivateIpAddress") {
        None => None,
        Some(text) => Some(address(text)?),
    };
    let mut v4: Vec<Ipv4Addr> = Vec::new();
    for one in params.records("PrivateIpAddresses") {
        let named = address(one.need("PrivateIpAddress")?)?;
        if one.flag("Primary")? != Some(true) {
            v4.push(named);
        } else if primary.replace(named).is_some_and(|before| before != named) {
            return Err(Failure::value("Only one primary address may be given"));
        }
    }
    let mut v6: Vec<Ipv6Addr> = Vec::new();
    for one in params.records("Ipv6Addresses") {
        v6.push(address(one.need("Ipv6Address")?)?);
    }
    let named = |list: &str, field: &str| -> Vec<String> {
        let records = params.records(list);
        records.iter().filter_map(|r| r.get(field)).map(ToOwned::to_owned).collect()
    };
    let p4 = prefixes(&named("Ipv4Prefix", "Ipv4Prefix"), false)?;
    let p6 = prefixes(&named("Ipv6Prefix", "Ipv6Prefix"), true)?;
    let counts = super::address::Counts::read(params)?;
    exclusive(&[
        ("PrivateIpAddresses", !v4.is_empty()),
        ("SecondaryPrivateIpAddressCount", counts.v4 > 0),
        ("Ipv4Prefixes", !p4.is_empty()),
        ("Ipv4PrefixCount", counts.p4 > 0),
    ])?;
    exclusive(&[
        ("Ipv6Addresses", !v6.is_empty()),
        ("Ipv6AddressCount", counts.v6 > 0),
        ("Ipv6Prefixes", !p6.is_empty()),
        ("Ipv6PrefixCount", counts.p6 > 0),
    ])?;
    Ok(Wanted {
        primary,
        v4,
        v4_count: counts.v4,
        v6,
        v6_count: counts.v6,
        prefixes: p4.into_iter().chain(p6).collect(),
        p4_count: counts.p4,
        p6_count: counts.p6,
        reassign: false,
    })
}

/// Tags for the new ENI.
pub fn new_tags(params: &Params) -> Result<BTreeMap<String, String>, Failure> {
    let mut tags = BTreeMap::new();
    for one in params.records("TagSpecification") {
        let kind = one.need("ResourceType")?;
        if kind != "network-interface" {
            return Err(Failure::value(format!(
                "'{kind}' is not a valid taggable resource type for this operation."
            )));
        }
        for (key, value) in one.tags(TAGS)? {
            let value = value.unwrap_or_default();
            check_tag(&key, &value)?;
            if tags.insert(key.clone(), value).is_some() {
                return Err(Failure::value(format!("Duplicate tag key '{key}' specified.")));
            }
        }
    }
    Ok(tags)
}

fn check_description(text: &str) -> Result<(), Failure> {
    if text.chars().count() <= DESCRIPTION {
        return Ok(());
    }
    Err(Failure::value(format!("The description has more than {DESCRIPTION} characters")))
}

/// `CreateNetworkInterface`. The answer says `pending`, as the real one does.
pub fn create(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, Failure> {
    let subnet = vpc.vswitch(params.need("SubnetId")?)?.clone();
    let groups = groups(vpc, params)?;
    if let Some(kind) = params.get("InterfaceType").filter(|kind| *kind != "interface") {
        return Err(Failure::value(format!("This lab has no interfaces of type {kind}")));
    }
    let wanted = wanted(params)?;
    let tags = new_tags(params)?;
    let description = params.get("Description").unwrap_or_default();
    check_description(description)?;
    let mut eni: Eni = operations::eni::create(vpc, &subnet, groups, &wanted, now)?;
    eni.tags = tags;
    description.clone_into(&mut eni.description);
    let answer = json!({
        "networkInterface": shape::eni(vpc, &eni, "pending"),
        "clientToken": params.get("ClientToken"),
    });
    vpc.put(eni);
    Ok(answer)
}

/// `DeleteNetworkInterface`.
pub fn delete(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, Failure> {
    let id = params.need("NetworkInterfaceId")?;
    operations::eni::delete(vpc, id, now).map_err(|cause| {
        if let Cause::EniState { id, .. } = &cause {
            return Failure::value(format!("Network interface '{id}' is currently in use."));
        }
        cause.into()
    })?;
    Ok(json!({ "return": true }))
}

/// `ModifyNetworkInterfaceAttribute`: one attribute in a call.
pub fn modify(vpc: &mut Vpc, params: &Params) -> Result<Value, Failure> {
    let mut eni = vpc.eni(params.need("NetworkInterfaceId")?)?.clone();
    let has_groups = !params.list("SecurityGroupId").is_empty();
    let check = params.flag("SourceDestCheck.Value")?;
    // An empty description is one, too.
    let description = params.raw("Description.Value").map(ToOwned::to_owned);
    let attachment = params.get("Attachment.AttachmentId");
    exclusive(&[
        ("Groups", has_groups),
        ("SourceDestCheck", check.is_some()),
        ("Description", description.is_some()),
        ("Attachment", attachment.is_some()),
    ])?;
    if has_groups {
        let ids = groups(vpc, params)?;
        operations::eni::join(vpc, &mut eni, ids)?;
    } else if let Some(check) = check {
        eni.source_dest_check = check;
    } else if let Some(text) = description {
        check_description(&text)?;
        eni.description = text;
    } else if let Some(id) = attachment {
        if eni.attachment.as_ref().is_none_or(|a| a.id != id) {
            return Err(Cause::NoAttachment(id.to_owned()).into());
        }
        let flag = params.flag("Attachment.DeleteOnTermination")?;
        eni.delete_on_release =
            flag.ok_or_else(|| Cause::Missing("Attachment.DeleteOnTermination".to_owned()))?;
    } else {
        return Err(Failure::bad("InvalidParameterCombination", "No attributes specified."));
    }
    operations::eni::modified(vpc, eni);
    Ok(json!({ "return": true }))
}

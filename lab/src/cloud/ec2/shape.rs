//! Answers in the shapes of EC2: `xSet` lists, tags as `key` and `value`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::cloud::clock::iso8601;
use crate::cloud::resources::{Eni, EniState};
use crate::cloud::vpc::Vpc;

/// The image of every instance.
pub const IMAGE: &str = "ami-00000000000000001";

/// `tagSet`.
pub fn tags(tags: &BTreeMap<String, String>) -> Value {
    tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

/// `groupSet` of the groups with these ids.
pub fn groups(vpc: &Vpc, ids: &[String]) -> Value {
    let name = |id: &String| vpc.groups.get(id).map(|g| g.name.clone()).unwrap_or_default();
    ids.iter().map(|id| json!({ "groupId": id, "groupName": name(id) })).collect()
}

/// Status of an ENI.
pub fn status(state: EniState) -> &'static str {
    match state {
        EniState::Available => "available",
        EniState::Attaching => "attaching",
        EniState::InUse => "in-use",
        EniState::Detaching => "detaching",
        EniState::Deleting => "deleting",
    }
}

/// Status of the attachment of an ENI.
pub fn attachment_status(state: EniState) -> &'static str {
    match state {
        EniState::Attaching => "attaching",
        EniState::InUse => "attached",
        EniState::Detaching => "detaching",
        EniState::Available | EniState::Deleting => "detached",
    }
}

/// `attachment` of an ENI that has one.
pub fn attachment(vpc: &Vpc, eni: &Eni) -> Option<Value> {
    let attachment = eni.attachment.as_ref()?;
    Some(json!({
        "attachmentId": attachment.id,
        "instanceId": eni.instance,
        "instanceOwnerId": vpc.owner,
        "deviceIndex": attachment.device,
        "networkCardIndex": attachment.card,
        "status": attachment_status(eni.state),
        "attachTime": iso8601(attachment.since),
        "deleteOnTermination": eni.delete_on_release,
    }))
}

/// The private name of an address, `ip-10-0-0-5.REGION.compute.internal`.
pub fn dns(vpc: &Vpc, address: IpAddr) -> String {
    let host = address.to_string().replace(['.', ':'], "-");
    format!("ip-{host}.{}.compute.internal", vpc.config.region)
}

/// An ENI, as in the answers of Create and Describe, and within an instance.
pub fn eni(vpc: &Vpc, eni: &Eni, status: &str) -> Value {
    let zone = vpc.vswitches.get(&eni.vswitch).map(|v| v.zone.clone()).unwrap_or_default();
    let primary = eni.v4.first().map(ToString::to_string).unwrap_or_default();
    let v4: Vec<Value> = eni
        .v4
        .iter()
        .enumerate()
        .map(|(n, a)| {
            json!({
                "privateIpAddress": a.to_string(),
                "privateDnsName": dns(vpc, IpAddr::V4(*a)),
                "primary": n == 0,
            })
        })
        .collect();
    let six =
        |a: &std::net::Ipv6Addr| json!({ "ipv6Address": a.to_string(), "isPrimaryIpv6": false });
    let v6: Vec<Value> = eni.v6.iter().map(six).collect();
    let p4: Vec<Value> =
        eni.prefixes_v4().map(|p| json!({ "ipv4Prefix": p.to_string() })).collect();
    let p6: Vec<Value> =
        eni.prefixes_v6().map(|p| json!({ "ipv6Prefix": p.to_string() })).collect();
    json!({
        "networkInterfaceId": eni.id,
        "subnetId": eni.vswitch,
        "vpcId": vpc.id,
        "availabilityZone": zone,
        "description": eni.description,
        "ownerId": vpc.owner,
        "requesterManaged": false,
        "status": status,
        "macAddress": eni.mac_text(),
        "privateIpAddress": primary,
        "privateDnsName": eni.v4.first().map(|a| dns(vpc, IpAddr::V4(*a))),
        "sourceDestCheck": eni.source_dest_check,
        "groupSet": groups(vpc, &eni.groups),
        "attachment": attachment(vpc, eni),
        "tagSet": tags(&eni.tags),
        "privateIpAddressesSet": v4,
        "ipv6AddressesSet": v6,
        "ipv6Address": eni.v6.first().map(ToString::to_string),
        "ipv4PrefixSet": p4,
        "ipv6PrefixSet": p6,
        "interfaceType": "interface",
        "ipv6Native": false,
        "denyAllIgwTraffic": false,
    })
}

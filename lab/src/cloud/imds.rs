//! What the EC2 instance metadata service answers below `/latest/`. Without IO: path in, answer out.

use std::net::IpAddr;

use serde_json::json;

use super::clock::iso8601;
use super::metadata::RoleKey;
use super::resources::{Eni, EniState, Instance};
use super::vpc::{EniView, Vpc};

/// One answer of the tree for one instance. `None` is 404.
pub fn answer(
    vpc: &Vpc,
    instance: &Instance,
    view: &EniView,
    path: &str,
    role_key: &RoleKey,
) -> Option<String> {
    let path = path.trim_start_matches('/');
    if let Some(rest) = path.strip_prefix("dynamic/") {
        return dynamic(vpc, instance, view, rest.trim_matches('/'));
    }
    if path.is_empty() {
        return Some("dynamic\nmeta-data".to_owned());
    }
    let path = path.strip_prefix("meta-data")?.trim_start_matches('/');
    if let Some(rest) = path.strip_prefix("network/interfaces/macs") {
        return interface(vpc, instance, view, rest.trim_start_matches('/'));
    }
    if let Some(rest) = path.strip_prefix("iam/security-credentials") {
        return credentials(vpc, rest.trim_matches('/'), role_key);
    }
    let primary = view.get(&instance.primary_eni);
    let text = match path.trim_end_matches('/') {
        "" => INDEX.join("\n"),
        "iam" => "info\nsecurity-credentials/".to_owned(),
        "iam/info" => json!({
            "Code": "Success",
            "LastUpdated": iso8601(role_key.given),
            "InstanceProfileArn":
                format!("arn:aws:iam::{}:instance-profile/{}", vpc.owner, vpc.config.ram_role),
            "InstanceProfileId": "AIPA0000000000000LAB",
        })
        .to_string(),
        "network" => "interfaces/".to_owned(),
        "network/interfaces" => "macs/".to_owned(),
        "placement" => "availability-zone\nregion".to_owned(),
        "placement/availability-zone" => instance.zone.clone(),
        "placement/region" => vpc.config.region.clone(),
        "services" => "domain\npartition".to_owned(),
        "services/domain" => "amazonaws.com".to_owned(),
        "services/partition" => "aws".to_owned(),
        "instance-id" => instance.id.clone(),
        "instance-type" => instance.instance_type.clone(),
        "instance-life-cycle" => "on-demand".to_owned(),
        "hostname" | "local-hostname" => {
            super::ec2::shape::dns(vpc, IpAddr::V4(*primary?.v4.first()?))
        }
        "local-ipv4" => primary?.v4.first()?.to_string(),
        "ipv6" => primary?.v6.first()?.to_string(),
        "mac" => primary?.mac_text(),
        "security-groups" => lines(names(vpc, primary?)),
        _ => return None,
    };
    Some(text)
}

const INDEX: [&str; 13] = [
    "hostname",
    "iam/",
    "instance-id",
    "instance-life-cycle",
    "instance-type",
    "ipv6",
    "local-hostname",
    "local-ipv4",
    "mac",
    "network/",
    "placement/",
    "security-groups",
    "services/",
];

/// One thing in a line.
fn lines<T: ToString>(list: impl IntoIterator<Item = T>) -> String {
    let lines: Vec<String> = list.into_iter().map(|one| one.to_string()).collect();
    lines.join("\n")
}

/// The same, where an empty list is 404.
fn some_lines<T: ToString>(list: impl IntoIterator<Item = T>) -> Option<String> {
    Some(lines(list)).filter(|text| !text.is_empty())
}

/// Names of an ENI's groups.
fn names(vpc: &Vpc, eni: &Eni) -> Vec<String> {
    eni.groups.iter().filter_map(|id| vpc.groups.get(id)).map(|g| g.name.clone()).collect()
}

/// The tree below `network/interfaces/macs/`. The list shows an ENI that is being attached before there is anything to
/// read about it, as the real one does.
fn interface(vpc: &Vpc, instance: &Instance, view: &EniView, rest: &str) -> Option<String> {
    let mut enis: Vec<&Eni> = view
        .values()
        .map(AsRef::as_ref)
        .filter(|e| e.instance.as_deref() == Some(instance.id.as_str()))
        .collect();
    enis.sort_by_key(|e| e.index);
    if rest.is_empty() {
        return Some(lines(enis.iter().map(|e| format!("{}/", e.mac_text()))));
    }
    let (mac, field) = rest.split_once('/').unwrap_or((rest, ""));
    let eni = enis.into_iter().find(|e| e.mac_text() == mac && e.state != EniState::Attaching)?;
    let attachment = eni.attachment.as_ref()?;
    let space = &vpc.vswitches.get(&eni.vswitch)?.space;
    let blocks = vpc.config.vpc.clone();
    match field.trim_end_matches('/') {
        "" => Some(index(eni, space.v6_block().is_some())),
        "device-number" => Some(attachment.device.to_string()),
        "network-card" => Some(attachment.card.to_string()),
        "interface-id" => Some(eni.id.clone()),
        "mac" => Some(eni.mac_text()),
        "owner-id" => Some(vpc.owner.clone()),
        "local-hostname" => Some(super::ec2::shape::dns(vpc, IpAddr::V4(*eni.v4.first()?))),
        "local-ipv4s" => some_lines(&eni.v4),
        "ipv6s" => some_lines(&eni.v6),
        "ipv4-prefix" => some_lines(eni.prefixes_v4()),
        "ipv6-prefix" => some_lines(eni.prefixes_v6()),
        "security-group-ids" => some_lines(&eni.groups),
        "security-groups" => some_lines(names(vpc, eni)),
        "subnet-id" => Some(eni.vswitch.clone()),
        "subnet-ipv4-cidr-block" => Some(space.v4_block().to_string()),
        "subnet-ipv6-cidr-blocks" => some_lines(space.v6_block()),
        "vpc-id" => Some(vpc.id.clone()),
        "vpc-ipv4-cidr-block" | "vpc-ipv4-cidr-blocks" => Some(blocks.ipv4.to_string()),
        "vpc-ipv6-cidr-blocks" => some_lines(blocks.ipv6),
        _ => None,
    }
}

/// What there is to read about an ENI.
fn index(eni: &Eni, ipv6: bool) -> String {
    let listed = [
        ("device-number", true),
        ("interface-id", true),
        ("ipv4-prefix", eni.prefixes_v4().next().is_some()),
        ("ipv6-prefix", eni.prefixes_v6().next().is_some()),
        ("ipv6s", !eni.v6.is_empty()),
        ("local-hostname", true),
        ("local-ipv4s", true),
        ("mac", true),
        ("network-card", true),
        ("owner-id", true),
        ("security-group-ids", true),
        ("security-groups", true),
        ("subnet-id", true),
        ("subnet-ipv4-cidr-block", true),
        ("subnet-ipv6-cidr-blocks", ipv6),
        ("vpc-id", true),
        ("vpc-ipv4-cidr-block", true),
        ("vpc-ipv4-cidr-blocks", true),
        ("vpc-ipv6-cidr-blocks", ipv6),
    ];
    lines(listed.into_iter().filter(|(_, there)| *there).map(|(name, _)| name))
}

fn credentials(vpc: &Vpc, role: &str, key: &RoleKey) -> Option<String> {
    if role.is_empty() {
        return Some(vpc.config.ram_role.clone());
    }
    if role != vpc.config.ram_role {
        return None;
    }
    let text = json!({
        "Code": "Success",
        "Type": "AWS-HMAC",
        "LastUpdated": iso8601(key.given),
        "AccessKeyId": key.id,
        "SecretAccessKey": key.secret,
        "Token": key.token,
        "Expiration": iso8601(key.expires),
    });
    Some(text.to_string())
}

fn dynamic(vpc: &Vpc, instance: &Instance, view: &EniView, path: &str) -> Option<String> {
    match path {
        "" => Some("instance-identity/".to_owned()),
        "instance-identity" => Some("document".to_owned()),
        "instance-identity/document" => {
            let address = view.get(&instance.primary_eni)?.v4.first()?.to_string();
            let known = vpc.catalog.get(&instance.instance_type)?;
            let text = json!({
                "version": "2017-09-30",
                "accountId": vpc.owner,
                "architecture": known.cpu_architecture,
                "availabilityZone": instance.zone,
                "imageId": super::ec2::shape::IMAGE,
                "instanceId": instance.id,
                "instanceType": instance.instance_type,
                "pendingTime": iso8601(instance.created),
                "privateIp": address,
                "region": vpc.config.region,
            });
            Some(format!("{text:#}"))
        }
        _ => None,
    }
}

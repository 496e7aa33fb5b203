//! What the instance metadata service of Alibaba Cloud answers. Without IO: path in, answer out.

use serde_json::json;

use super::clock::{Millis, iso8601};
use super::resources::{Eni, Instance};
use super::vpc::{EniView, Vpc};

/// Temporary credentials of the role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleKey {
    /// Access key id, `STS.…` or `ASIA…`.
    pub id: String,
    /// Secret.
    pub secret: String,
    /// Security token.
    pub token: String,
    /// When they were given.
    pub given: Millis,
    /// When they end.
    pub expires: Millis,
}

/// The tree below `/latest/meta-data/` for one instance. `None` is 404.
pub fn answer(
    vpc: &Vpc,
    instance: &Instance,
    view: &EniView,
    path: &str,
    role_key: &RoleKey,
) -> Option<String> {
    let mut enis: Vec<&Eni> = view
        .values()
        .map(AsRef::as_ref)
        .filter(|e| e.instance.as_deref() == Some(instance.id.as_str()))
        .collect();
    enis.sort_by_key(|e| e.index);
    let primary = enis.iter().find(|e| e.primary);
    let path = path.trim_start_matches('/');
    if let Some(rest) = path.strip_prefix("network/interfaces/macs") {
        return interface(vpc, &enis, rest.trim_start_matches('/'));
    }
    if let Some(rest) = path.strip_prefix("ram/security-credentials") {
        return credentials(vpc, rest.trim_matches('/'), role_key);
    }
    let vswitch = vpc.vswitches.get(&instance.vswitch);
    let text = match path.trim_end_matches('/') {
        "" => INDEX.join("\n"),
        "instance" => "instance-name\ninstance-type".to_owned(),
        "ram" => "security-credentials/".to_owned(),
        "network" => "interfaces/".to_owned(),
        "network/interfaces" => "macs/".to_owned(),
        "instance-id" => instance.id.clone(),
        "instance/instance-type" => instance.instance_type.clone(),
        "instance/instance-name" | "hostname" => instance.name.clone(),
        "region-id" => vpc.config.region.clone(),
        "zone-id" => instance.zone.clone(),
        "mac" => primary?.mac_text(),
        "private-ipv4" => primary?.v4.first()?.to_string(),
        "vpc-id" => vpc.id.clone(),
        "vpc-cidr-block" => vpc.config.vpc.ipv4.to_string(),
        "vswitch-id" => instance.vswitch.clone(),
        "vswitch-cidr-block" => vswitch?.space.v4_block().to_string(),
        "owner-account-id" => vpc.owner.clone(),
        "network-type" => "vpc".to_owned(),
        _ => return None,
    };
    Some(text)
}

const INDEX: [&str; 15] = [
    "hostname",
    "instance-id",
    "instance/",
    "mac",
    "network-type",
    "network/",
    "owner-account-id",
    "private-ipv4",
    "ram/",
    "region-id",
    "vpc-cidr-block",
    "vpc-id",
    "vswitch-cidr-block",
    "vswitch-id",
    "zone-id",
];

fn interface(vpc: &Vpc, enis: &[&Eni], rest: &str) -> Option<String> {
    if rest.is_empty() {
        let lines: Vec<String> = enis.iter().map(|e| format!("{}/", e.mac_text())).collect();
        return Some(lines.join("\n"));
    }
    let (mac, field) = rest.split_once('/').unwrap_or((rest, ""));
    let eni = enis.iter().find(|e| e.mac_text() == mac)?;
    let space = &vpc.vswitches.get(&eni.vswitch)?.space;
    let prefixes = |list: Vec<String>| (!list.is_empty()).then(|| json!(list).to_string());
    match field.trim_end_matches('/') {
        "" => Some(ENI_INDEX.join("\n")),
        "network-interface-id" => Some(eni.id.clone()),
        "primary-ip-address" => eni.v4.first().map(ToString::to_string),
        "private-ipv4s" => {
            let list: Vec<String> = eni.v4.iter().map(ToString::to_string).collect();
            Some(json!(list).to_string())
        }
        // Without quotes, unlike the IPv4 list: so does the real service.
        "ipv6s" if !eni.v6.is_empty() => {
            let list: Vec<String> = eni.v6.iter().map(ToString::to_string).collect();
            Some(format!("[{}]", list.join(", ")))
        }
        "ipv4-prefixes" => prefixes(eni.prefixes_v4().map(ToString::to_string).collect()),
        "ipv6-prefixes" => prefixes(eni.prefixes_v6().map(ToString::to_string).collect()),
        "netmask" => Some(space.v4_block().netmask().to_string()),
        "gateway" => Some(space.gateway_v4().to_string()),
        "ipv6-gateway" => space.gateway_v6().map(|g| g.to_string()),
        "vswitch-id" => Some(eni.vswitch.clone()),
        "vswitch-cidr-block" => Some(space.v4_block().to_string()),
        "vswitch-ipv6-cidr-block" => space.v6_block().map(|b| b.to_string()),
        "vpc-cidr-block" => Some(vpc.config.vpc.ipv4.to_string()),
        "vpc-id" => Some(vpc.id.clone()),
        _ => None,
    }
}

const ENI_INDEX: [&str; 10] = [
    "gateway",
    "ipv6-gateway",
    "ipv6s",
    "netmask",
    "network-interface-id",
    "primary-ip-address",
    "private-ipv4s",
    "vswitch-cidr-block",
    "vswitch-id",
    "vswitch-ipv6-cidr-block",
];

fn credentials(vpc: &Vpc, role: &str, key: &RoleKey) -> Option<String> {
    if role.is_empty() {
        return Some(vpc.config.ram_role.clone());
    }
    if role != vpc.config.ram_role {
        return None;
    }
    let text = json!({
        "AccessKeyId": key.id,
        "AccessKeySecret": key.secret,
        "Expiration": iso8601(key.expires),
        "SecurityToken": key.token,
        "LastUpdated": iso8601(key.given),
        "Code": "Success",
    });
    Some(text.to_string())
}

//! ENIs: describe, create, attach, detach, delete.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use serde::Deserialize;
use tideway_cloud::{CreateEni, EniFilter, EniStatus, EniView};
use tideway_model::{EniId, Family, InstanceId, SecurityGroupId, SubnetId, UnixMillis};

use super::{Senseless, address::PREFIXES_PER_CALL, field, json, or_default};
use crate::{Api, ApiRequest};

/// Most ENIs that one page of a describe holds (`MaxResults` 10–500).
pub const PAGE: u16 = 500;
/// Most ids in one describe (`NetworkInterfaceId.N`).
pub const IDS_PER_CALL: usize = 100;
/// Most secondary IPv4 addresses in one create (`SecondaryPrivateIpAddressCount` 1–49).
pub const V4_PER_CREATE: u16 = 49;
/// Most IPv6 addresses in one create (`Ipv6AddressCount` 1–10).
pub const V6_PER_CREATE: u16 = 10;

/// One page of the ENIs that match; `ids` are at most [`IDS_PER_CALL`] of the filter's ids.
pub fn describe(
    region: &str,
    filter: &EniFilter,
    ids: &[EniId],
    next_token: Option<&str>,
) -> ApiRequest {
    let mut request = ApiRequest::new(Api::Ecs, "DescribeNetworkInterfaces", region)
        .with("MaxResults", PAGE)
        .with_list("NetworkInterfaceId", ids)
        .with_tags(&filter.tags);
    if let Some(instance) = &filter.instance {
        request = request.with("InstanceId", instance);
    }
    if let Some(status) = filter.status {
        request = request.with("Status", word(status));
    }
    if let Some(token) = next_token {
        request = request.with("NextToken", token);
    }
    request
}

/// A new ENI. Counts above the API's limits are cut to them: the caller asks for the rest by assigning.
/// `DeleteOnRelease`: it goes with its instance and cannot be left over.
pub fn create(region: &str, eni: &CreateEni) -> ApiRequest {
    let mut request = ApiRequest::new(Api::Ecs, "CreateNetworkInterface", region)
        .with("VSwitchId", &eni.subnet)
        .with_list("SecurityGroupIds", &eni.security_groups)
        .with("DeleteOnRelease", true)
        .with("ClientToken", &eni.token)
        .with_tags(&eni.tags);
    if eni.secondary_v4 > 0 {
        request =
            request.with("SecondaryPrivateIpAddressCount", eni.secondary_v4.min(V4_PER_CREATE));
    }
    if eni.v6 > 0 {
        request = request.with("Ipv6AddressCount", eni.v6.min(V6_PER_CREATE));
    }
    if eni.prefixes_v4 > 0 {
        request = request.with("Ipv4PrefixCount", eni.prefixes_v4.min(PREFIXES_PER_CALL));
    }
    if eni.prefixes_v6 > 0 {
        request = request.with("Ipv6PrefixCount", eni.prefixes_v6.min(PREFIXES_PER_CALL));
    }
    request
}

/// Starts attaching.
pub fn attach(region: &str, eni: &EniId, instance: &InstanceId) -> ApiRequest {
    ApiRequest::new(Api::Ecs, "AttachNetworkInterface", region)
        .with("NetworkInterfaceId", eni)
        .with("InstanceId", instance)
}

/// Starts detaching.
pub fn detach(region: &str, eni: &EniId, instance: &InstanceId) -> ApiRequest {
    ApiRequest::new(Api::Ecs, "DetachNetworkInterface", region)
        .with("NetworkInterfaceId", eni)
        .with("InstanceId", instance)
}

/// Deletes a detached ENI.
pub fn delete(region: &str, eni: &EniId) -> ApiRequest {
    ApiRequest::new(Api::Ecs, "DeleteNetworkInterface", region).with("NetworkInterfaceId", eni)
}

/// One page of ENIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The ENIs.
    pub enis: Vec<EniView>,
    /// Token of the next page; none at the end.
    pub next_token: Option<String>,
}

/// Decodes a page.
pub fn decode_page(body: &[u8]) -> Result<Page, Senseless> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        // Required: an answer without the list is no empty list.
        network_interface_sets: Sets,
        #[serde(default, deserialize_with = "or_default")]
        next_token: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Sets {
        #[serde(default, deserialize_with = "or_default")]
        network_interface_set: Vec<Eni>,
    }
    let answer: Answer = json(body)?;
    let enis = answer.network_interface_sets.network_interface_set;
    Ok(Page {
        enis: enis.into_iter().map(Eni::view).collect::<Result<_, _>>()?,
        next_token: Some(answer.next_token).filter(|token| !token.is_empty()),
    })
}

/// Decodes the answer to a create; what it leaves out is known from the request.
pub fn decode_created(body: &[u8], asked: &CreateEni) -> Result<EniView, Senseless> {
    let mut eni: Eni = json(body)?;
    if eni.status.is_empty() {
        eni.status = "Available".into();
    }
    if eni.v_switch_id.is_empty() {
        eni.v_switch_id = asked.subnet.to_string();
    }
    let mut view = eni.view()?;
    if view.security_groups.is_empty() {
        view.security_groups.clone_from(&asked.security_groups);
    }
    if view.tags.is_empty() {
        view.tags.clone_from(&asked.tags);
    }
    Ok(view)
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Eni {
    #[serde(deserialize_with = "or_default")]
    network_interface_id: String,
    #[serde(deserialize_with = "or_default")]
    mac_address: String,
    #[serde(deserialize_with = "or_default")]
    status: String,
    #[serde(deserialize_with = "or_default")]
    r#type: String,
    #[serde(deserialize_with = "or_default")]
    instance_id: String,
    #[serde(deserialize_with = "or_default")]
    attachment: Attachment,
    #[serde(deserialize_with = "or_default")]
    v_switch_id: String,
    #[serde(deserialize_with = "or_default")]
    security_group_ids: SecurityGroupIds,
    #[serde(deserialize_with = "or_default")]
    private_ip_address: String,
    #[serde(deserialize_with = "or_default")]
    private_ip_sets: PrivateIpSets,
    #[serde(deserialize_with = "or_default")]
    ipv6_sets: Ipv6Sets,
    #[serde(deserialize_with = "or_default")]
    ipv4_prefix_sets: Ipv4PrefixSets,
    #[serde(deserialize_with = "or_default")]
    ipv6_prefix_sets: Ipv6PrefixSets,
    #[serde(deserialize_with = "or_default")]
    tags: Tags,
    #[serde(deserialize_with = "or_default")]
    creation_time: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Attachment {
    #[serde(deserialize_with = "or_default")]
    instance_id: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct SecurityGroupIds {
    #[serde(deserialize_with = "or_default")]
    security_group_id: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct PrivateIpSets {
    #[serde(deserialize_with = "or_default")]
    private_ip_set: Vec<PrivateIp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PrivateIp {
    private_ip_address: String,
    #[serde(default, deserialize_with = "or_default")]
    primary: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Ipv6Sets {
    #[serde(deserialize_with = "or_default")]
    ipv6_set: Vec<Ipv6>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ipv6 {
    ipv6_address: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Ipv4PrefixSets {
    #[serde(deserialize_with = "or_default")]
    ipv4_prefix_set: Vec<Ipv4Prefix>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ipv4Prefix {
    ipv4_prefix: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Ipv6PrefixSets {
    #[serde(deserialize_with = "or_default")]
    ipv6_prefix_set: Vec<Ipv6Prefix>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ipv6Prefix {
    ipv6_prefix: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Tags {
    #[serde(deserialize_with = "or_default")]
    tag: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    tag_key: String,
    #[serde(default, deserialize_with = "or_default")]
    tag_value: String,
}

impl Eni {
    fn view(self) -> Result<EniView, Senseless> {
        let id = self.network_interface_id.as_str();
        let id = field("NetworkInterfaceId", id, EniId::try_from(id))?;
        let named = |e: Senseless| Senseless(format!("{id}: {}", e.0));
        let mac = field("MacAddress", &self.mac_address, self.mac_address.parse());
        let subnet =
            field("VSwitchId", &self.v_switch_id, SubnetId::try_from(self.v_switch_id.as_str()));
        let instance = [&self.instance_id, &self.attachment.instance_id]
            .into_iter()
            .find(|i| !i.is_empty())
            .map(|i| field("InstanceId", i, InstanceId::try_from(i.as_str())))
            .transpose();
        let groups: Result<Vec<_>, _> = self
            .security_group_ids
            .security_group_id
            .iter()
            .map(|g| field("SecurityGroupId", g, SecurityGroupId::try_from(g.as_str())))
            .collect();
        let (primary_ip, addresses) = self.addresses().map_err(named)?;
        let prefixes = self.prefixes().map_err(named)?;
        let status = status(&self.status).map_err(named)?;
        let tags: BTreeMap<_, _> =
            self.tags.tag.into_iter().map(|t| (t.tag_key, t.tag_value)).collect();
        Ok(EniView {
            mac: mac.map_err(named)?,
            status,
            primary: self.r#type == "Primary",
            instance: instance.map_err(named)?,
            subnet: subnet.map_err(named)?,
            security_groups: groups.map_err(named)?,
            primary_ip,
            addresses,
            prefixes,
            tags,
            created: moment(&self.creation_time),
            id,
        })
    }

    /// The primary address, and all addresses: the primary one first, then IPv4 and IPv6 as listed.
    fn addresses(&self) -> Result<(Option<IpAddr>, Vec<IpAddr>), Senseless> {
        let v4 = &self.private_ip_sets.private_ip_set;
        let primary = match self.private_ip_address.as_str() {
            "" => v4.iter().find(|ip| ip.primary).map(|ip| ip.private_ip_address.as_str()),
            ip => Some(ip),
        };
        let primary = primary.map(|ip| address("PrivateIpAddress", ip)).transpose()?;
        let mut all: Vec<IpAddr> = primary.into_iter().collect();
        for ip in v4 {
            all.push(address("PrivateIpAddress", &ip.private_ip_address)?);
        }
        for ip in &self.ipv6_sets.ipv6_set {
            all.push(address("Ipv6Address", &ip.ipv6_address)?);
        }
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|ip| seen.insert(*ip));
        Ok((primary, all))
    }

    fn prefixes(&self) -> Result<Vec<IpNet>, Senseless> {
        let v4 = self.ipv4_prefix_sets.ipv4_prefix_set.iter();
        let v4 = v4.map(|p| prefix(&p.ipv4_prefix, Family::V4));
        let v6 = self.ipv6_prefix_sets.ipv6_prefix_set.iter();
        v4.chain(v6.map(|p| prefix(&p.ipv6_prefix, Family::V6))).collect()
    }
}

/// A prefix of this family: /28 of IPv4, /80 of IPv6.
pub(super) fn prefix(text: &str, family: Family) -> Result<IpNet, Senseless> {
    let (name, length) = match family {
        Family::V4 => ("Ipv4Prefix", 28),
        Family::V6 => ("Ipv6Prefix", 80),
    };
    let net: IpNet = field(name, text, text.parse())?;
    let right = Family::of(net.addr()) == family && net.prefix_len() == length;
    (right && net.trunc() == net)
        .then_some(net)
        .ok_or_else(|| Senseless(format!("{name} is {net}, which is no block of length {length}")))
}

pub(super) fn address(name: &str, text: &str) -> Result<IpAddr, Senseless> {
    field(name, text, text.parse::<IpAddr>())
}

/// `2026-11-22T09:37:45Z`. One that is not understood counts as absent: it only keeps an ENI from being swept, and no node
/// needs it.
fn moment(text: &str) -> Option<UnixMillis> {
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok().map(UnixMillis)
}

const STATES: [EniStatus; 5] = [
    EniStatus::Available,
    EniStatus::Attaching,
    EniStatus::InUse,
    EniStatus::Detaching,
    EniStatus::Deleting,
];

fn word(status: EniStatus) -> &'static str {
    match status {
        EniStatus::Available => "Available",
        EniStatus::Attaching => "Attaching",
        EniStatus::InUse => "InUse",
        EniStatus::Detaching => "Detaching",
        EniStatus::Deleting => "Deleting",
    }
}

fn status(text: &str) -> Result<EniStatus, Senseless> {
    let known = STATES.into_iter().find(|status| word(*status) == text);
    let unknown = || Senseless(format!("Status is {text:?}, which no documented state is"));
    known.ok_or_else(unknown)
}

#[cfg(test)]
mod tests;

//! EC2's words → ours. Nearly every field of the SDK is optional; what we cannot do without is asked for here, by name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use aws_sdk_ec2::types::{
    AttachmentStatus, Instance, InstanceStateName, InstanceTypeInfo, NetworkInterface,
    NetworkInterfaceAttachment, Subnet, SubnetCidrBlockStateCode, Vpc, VpcCidrBlockStateCode,
};
use ipnet::IpNet;
use tideway_cloud::{CloudError, CreateEni, EniStatus, EniView, SubnetView};
use tideway_model::{
    EniId, Family, InstanceId, Limits, SecurityGroupId, SubnetId, SubnetPlan, UnixMillis,
    names::TAG_CREATED,
};

use crate::{
    places::{Attachment, Cards, Place},
    refusal,
};

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Senseless(pub(crate) String);

impl Senseless {
    /// The error of the call that was answered so.
    pub(crate) fn of(self, action: &str) -> CloudError {
        refusal::senseless(action, self.0)
    }
}

/// The value of a field that must be there.
pub(crate) fn need<'a, T>(value: Option<&'a T>, name: &str) -> Result<&'a T, Senseless> {
    value.ok_or_else(|| Senseless(format!("{name} is missing")))
}

/// A field that must be there and be readable.
fn read<'a, T, E: fmt::Display>(
    value: Option<&'a str>,
    name: &str,
    parse: impl FnOnce(&'a str) -> Result<T, E>,
) -> Result<T, Senseless> {
    let text = value.ok_or_else(|| Senseless(format!("{name} is missing")))?;
    parse(text).map_err(|e| Senseless(format!("{name}: {e}")))
}

/// An address of this family.
pub(crate) fn address(text: Option<&str>, family: Family) -> Result<IpAddr, Senseless> {
    let name = match family {
        Family::V4 => "privateIpAddress",
        Family::V6 => "ipv6Address",
    };
    let ip: IpAddr = read(text, name, str::parse)?;
    let right = Family::of(ip) == family;
    right.then_some(ip).ok_or_else(|| Senseless(format!("{name} is {ip}, which is no {family}")))
}

/// A prefix of this family: /28 of IPv4, /80 of IPv6.
pub(crate) fn prefix(text: Option<&str>, family: Family) -> Result<IpNet, Senseless> {
    let (name, length) = match family {
        Family::V4 => ("ipv4Prefix", 28),
        Family::V6 => ("ipv6Prefix", 80),
    };
    let net: IpNet = read(text, name, str::parse)?;
    let right = Family::of(net.addr()) == family && net.prefix_len() == length;
    (right && net.trunc() == net)
        .then_some(net)
        .ok_or_else(|| Senseless(format!("{name} is {net}, which is no block of length {length}")))
}

fn block(text: Option<&str>, name: &str) -> Result<IpNet, Senseless> {
    read(text, name, str::parse::<IpNet>).map(|net| net.trunc())
}

/// Identity of an ENI, and its attachment when it has one. One that is over counts as none.
pub(crate) fn attachment(eni: &NetworkInterface) -> Result<(EniId, Option<Attachment>), Senseless> {
    let id = read(eni.network_interface_id(), "networkInterfaceId", EniId::try_from)?;
    let over = |a: &&NetworkInterfaceAttachment| a.status() == Some(&AttachmentStatus::Detached);
    let attachment = match eni.attachment().filter(|a| !over(a)) {
        // Attached to something that is no instance of ours, such as a load balancer.
        Some(a) if a.instance_id().is_none() => None,
        Some(a) => Some(Attachment {
            id: a.attachment_id().map(str::to_owned),
            instance: read(a.instance_id(), "instanceId", InstanceId::try_from)?,
            place: Place {
                card: a.network_card_index().unwrap_or_default(),
                device: a.device_index().unwrap_or_default(),
            },
        }),
        None => None,
    };
    Ok((id, attachment))
}

/// An ENI of a list.
pub(crate) fn eni(eni: &NetworkInterface) -> Result<EniView, Senseless> {
    let (id, attachment) = attachment(eni)?;
    let named = |e: Senseless| Senseless(format!("{id}: {}", e.0));
    let groups = eni.groups().iter();
    let groups = groups.map(|g| read(g.group_id(), "groupId", SecurityGroupId::try_from));
    let tags: BTreeMap<String, String> = eni
        .tag_set()
        .iter()
        .filter_map(|t| Some((t.key()?.to_owned(), t.value().unwrap_or_default().to_owned())))
        .collect();
    let primary_ip = match eni.private_ip_address() {
        None | Some("") => None,
        text => Some(address(text, Family::V4).map_err(named)?),
    };
    Ok(EniView {
        mac: read(eni.mac_address(), "macAddress", str::parse).map_err(named)?,
        status: status(eni).map_err(named)?,
        primary: attachment.as_ref().is_some_and(|a| a.place == Place { card: 0, device: 0 }),
        instance: attachment.map(|a| a.instance),
        subnet: read(eni.subnet_id(), "subnetId", SubnetId::try_from).map_err(named)?,
        security_groups: groups.collect::<Result<_, _>>().map_err(named)?,
        primary_ip,
        addresses: addresses(eni, primary_ip).map_err(named)?,
        prefixes: prefixes(eni).map_err(named)?,
        created: created(eni, &tags),
        tags,
        id,
    })
}

/// All addresses: the primary one first, then IPv4 and IPv6 as listed.
fn addresses(eni: &NetworkInterface, primary: Option<IpAddr>) -> Result<Vec<IpAddr>, Senseless> {
    let v4 = eni.private_ip_addresses().iter();
    let v4 = v4.map(|ip| address(ip.private_ip_address(), Family::V4));
    let v6 = eni.ipv6_addresses().iter().map(|ip| address(ip.ipv6_address(), Family::V6));
    let mut all: Vec<IpAddr> =
        primary.map(Ok).into_iter().chain(v4).chain(v6).collect::<Result<_, _>>()?;
    let mut seen = BTreeSet::new();
    all.retain(|ip| seen.insert(*ip));
    Ok(all)
}

fn prefixes(eni: &NetworkInterface) -> Result<Vec<IpNet>, Senseless> {
    let v4 = eni.ipv4_prefixes().iter().map(|p| prefix(p.ipv4_prefix(), Family::V4));
    let v6 = eni.ipv6_prefixes().iter().map(|p| prefix(p.ipv6_prefix(), Family::V6));
    v4.chain(v6).collect()
}

/// EC2 has two words: `in-use` stands for attaching, attached and detaching, and the attachment tells which.
fn status(eni: &NetworkInterface) -> Result<EniStatus, Senseless> {
    let status = need(eni.status(), "status")?;
    let attachment = eni.attachment().and_then(|a| a.status());
    Ok(match (status.as_str(), attachment) {
        ("deleting", _) => EniStatus::Deleting,
        (_, Some(AttachmentStatus::Attached)) => EniStatus::InUse,
        (_, Some(AttachmentStatus::Attaching)) | ("attaching", _) => EniStatus::Attaching,
        // Also in use without an attachment that tells more: on its way out.
        (_, Some(AttachmentStatus::Detaching)) | ("in-use" | "detaching", _) => {
            EniStatus::Detaching
        }
        // `pending` is a new one that cannot be attached for a moment; `associated` has a public address.
        ("available" | "pending" | "associated", _) => EniStatus::Available,
        (other, _) => return Err(Senseless(format!("status {other:?} is not known"))),
    })
}

/// The states of the filter `status` that an ENI of this state of ours may be in.
pub(crate) fn status_words(status: EniStatus) -> Vec<String> {
    let words: &[&str] = match status {
        EniStatus::Available => &["available", "pending", "associated"],
        EniStatus::Attaching => &["attaching", "in-use"],
        EniStatus::InUse => &["in-use"],
        EniStatus::Detaching => &["detaching", "in-use"],
        EniStatus::Deleting => &["deleting"],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// EC2 does not tell when an ENI was created: our own tag does, else the time of its attachment, when it has one.
fn created(eni: &NetworkInterface, tags: &BTreeMap<String, String>) -> Option<UnixMillis> {
    let written = tags.get(TAG_CREATED).and_then(|text| text.parse().ok()).map(UnixMillis);
    written.or_else(|| {
        let attached = eni.attachment()?.attach_time()?.to_millis().ok()?;
        u64::try_from(attached).ok().map(UnixMillis)
    })
}

/// The ENI of the answer to a create; what it leaves out is known from the request.
pub(crate) fn made(
    answer: Option<&NetworkInterface>,
    asked: &CreateEni,
) -> Result<EniView, Senseless> {
    let mut view = eni(need(answer, "networkInterface")?)?;
    if view.security_groups.is_empty() {
        view.security_groups.clone_from(&asked.security_groups);
    }
    if view.tags.is_empty() {
        view.tags.clone_from(&asked.tags);
    }
    Ok(view)
}

/// An instance that can still come back to life.
pub(crate) fn exists(instance: &Instance) -> bool {
    let state = instance.state().and_then(|s| s.name());
    state != Some(&InstanceStateName::Terminated)
}

/// Limits of a type, and the room on its network cards.
pub(crate) fn limits(answer: &InstanceTypeInfo) -> Result<(Limits, Cards), Senseless> {
    let network = need(answer.network_info(), "networkInfo")?;
    let count = |value: Option<i32>, name: &str| {
        let value = value.ok_or_else(|| Senseless(format!("{name} is missing")))?;
        u16::try_from(value).map_err(|e| Senseless(format!("{name}: {e}")))
    };
    let limits = Limits {
        enis: count(network.maximum_network_interfaces(), "maximumNetworkInterfaces")?,
        ipv4_per_eni: count(network.ipv4_addresses_per_interface(), "ipv4AddressesPerInterface")?,
        ipv6_per_eni: match network.ipv6_supported() {
            Some(false) => 0,
            _ => count(
                network.ipv6_addresses_per_interface().or(Some(0)),
                "ipv6AddressesPerInterface",
            )?,
        },
        // Private to the makers of EKS.
        trunk: false,
        members: 0,
    };
    let mut cards: Vec<(i32, u16)> = Vec::new();
    for card in network.network_cards() {
        let room =
            count(card.maximum_network_interfaces(), "networkCards.maximumNetworkInterfaces")?;
        cards.push((card.network_card_index().unwrap_or_default(), room));
    }
    cards.sort_unstable();
    let mut room: Cards = cards.into_iter().map(|(_, room)| room).collect();
    if room.is_empty() {
        room.push(limits.enis);
    }
    Ok((limits, room))
}

/// The VPC's router has the first address of every subnet behind the network address, in both families.
fn gateway(block: IpNet) -> Option<IpAddr> {
    let first = match block {
        IpNet::V4(net) => IpAddr::V4(u32::from(net.network()).checked_add(1)?.into()),
        IpNet::V6(net) => IpAddr::V6(u128::from(net.network()).checked_add(1)?.into()),
    };
    block.contains(&first).then_some(first)
}

/// A subnet.
pub(crate) fn subnet(subnet: &Subnet) -> Result<SubnetView, Senseless> {
    let id = read(subnet.subnet_id(), "subnetId", SubnetId::try_from)?;
    let ipv4 = match subnet.cidr_block() {
        None | Some("") => None,
        text => Some(block(text, "cidrBlock")?),
    };
    let ipv6 = subnet.ipv6_cidr_block_association_set().iter().find(|a| {
        a.ipv6_cidr_block_state().and_then(|s| s.state())
            == Some(&SubnetCidrBlockStateCode::Associated)
    });
    let ipv6 = ipv6.map(|a| block(a.ipv6_cidr_block(), "ipv6CidrBlock")).transpose()?;
    if ipv4.is_none() && ipv6.is_none() {
        return Err(Senseless(format!("{id} has no block")));
    }
    let available = subnet.available_ip_address_count().unwrap_or_default();
    Ok(SubnetView {
        plan: SubnetPlan {
            id,
            ipv4,
            ipv6,
            gateway_v4: ipv4.and_then(gateway),
            gateway_v6: ipv6.and_then(gateway),
        },
        zone: subnet.availability_zone().unwrap_or_default().to_owned(),
        available: u64::try_from(available).unwrap_or_default(),
    })
}

/// The blocks of a VPC, IPv4 first.
pub(crate) fn vpc_blocks(vpc: &Vpc) -> Result<Vec<IpNet>, Senseless> {
    let associated = |state: Option<&aws_sdk_ec2::types::VpcCidrBlockState>| {
        state.and_then(|s| s.state()) == Some(&VpcCidrBlockStateCode::Associated)
    };
    let v4 = vpc.cidr_block_association_set().iter();
    let v4 = v4.filter(|a| associated(a.cidr_block_state())).map(|a| a.cidr_block());
    let v6 = vpc.ipv6_cidr_block_association_set().iter();
    let v6 = v6.filter(|a| associated(a.ipv6_cidr_block_state())).map(|a| a.ipv6_cidr_block());
    let mut blocks = Vec::new();
    for text in std::iter::once(vpc.cidr_block()).chain(v4).chain(v6).flatten() {
        let block = block(Some(text), "cidrBlock")?;
        if !blocks.contains(&block) {
            blocks.push(block);
        }
    }
    Ok(blocks)
}

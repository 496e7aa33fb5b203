//! Reads a namespace into the words of the plan.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's attributes are many and grow; we read a few"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::AddressAttribute,
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
    rule::{RuleAttribute, RuleMessage},
};
use nix::errno::Errno;
use tideway_datapath::{ForeignRoute, Link, LinkAddress, Neighbour, Route, Rule, View};
use tideway_model::{Family, IfName, Mac, names};

use crate::{
    message,
    socket::{Answer, NetlinkSocket},
    tc,
};

/// Protocol number of routes that the kernel makes itself.
const KERNEL: u8 = 2;

/// A link as the kernel shows it.
#[derive(Debug, Clone)]
pub(crate) struct FoundLink {
    pub(crate) index: u32,
    pub(crate) name: IfName,
    pub(crate) state: Link,
    /// MAC that the hardware was made with; virtual devices have none.
    pub(crate) permanent: Option<Mac>,
    /// Group number; 0 unless somebody set one.
    pub(crate) group: u32,
    /// Sits on another device and shares its MAC (vlan, macvlan, ipvlan, bridge, bond).
    pub(crate) stacked: bool,
}

impl FoundLink {
    /// Whether this is the ENI with a MAC. A pod may have changed the current one; the permanent one stays.
    pub(crate) fn is_eni(&self, mac: Mac) -> bool {
        !self.stacked && (self.state.mac == Some(mac) || self.permanent == Some(mac))
    }
}

/// All links of the socket's namespace. Links whose name we could not have given are left out.
pub(crate) fn links(socket: &mut NetlinkSocket) -> io::Result<Vec<FoundLink>> {
    let found = socket.dump(message::all_links())?;
    Ok(found
        .iter()
        .filter_map(|m| if let RouteNetlinkMessage::NewLink(l) = m { link(l) } else { None })
        .collect())
}

/// Which of these links there are. Each is asked for by its name: a node with hundreds of pods has few of them.
pub(crate) fn existing(
    socket: &mut NetlinkSocket,
    names: Vec<IfName>,
) -> io::Result<BTreeSet<IfName>> {
    let asked: Vec<_> = names.iter().map(message::get_link).collect();
    let answers = socket.batch(&asked)?;
    let gone = |answer: &Answer| matches!(answer, Err(refused) if refused.errno == Errno::ENODEV);
    let found = names.into_iter().zip(&answers).filter(|(_, answer)| !gone(answer));
    Ok(found.map(|(name, _)| name).collect())
}

/// Which of these addresses a route of ours leads to, other than by a gateway.
pub(crate) fn routed(
    socket: &mut NetlinkSocket,
    addresses: &BTreeSet<IpAddr>,
) -> io::Result<BTreeSet<IpAddr>> {
    let mut found = BTreeSet::new();
    for of in Family::BOTH {
        if !addresses.iter().any(|ip| Family::of(*ip) == of) {
            continue;
        }
        for message in socket.dump(message::all_routes(of, names::PROTOCOL, None))? {
            let RouteNetlinkMessage::NewRoute(message) = message else { continue };
            let direct =
                message.attributes.iter().all(|a| !matches!(a, RouteAttribute::Gateway(_)));
            if u8::from(message.header.protocol) == names::PROTOCOL && direct {
                let to = message.attributes.iter().filter_map(|a| match a {
                    RouteAttribute::Destination(ip) => ip_of(ip),
                    _ => None,
                });
                found.extend(to.filter(|ip| addresses.contains(ip)));
            }
        }
    }
    Ok(found)
}

fn link(message: &LinkMessage) -> Option<FoundLink> {
    let (mut name, mut mac, mut permanent) = (None, None, None);
    let (mut mtu, mut group, mut stacked) = (0, 0, false);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = IfName::try_from(text.as_str()).ok(),
            LinkAttribute::Address(bytes) => mac = mac_of(bytes),
            LinkAttribute::PermAddress(bytes) => permanent = mac_of(bytes),
            LinkAttribute::Mtu(value) => mtu = *value,
            LinkAttribute::Group(number) => group = *number,
            LinkAttribute::LinkInfo(infos) => stacked = infos.iter().any(is_stacked),
            _ => {}
        }
    }
    let up = message.header.flags.contains(LinkFlags::Up);
    Some(FoundLink {
        index: message.header.index,
        name: name?,
        state: Link { mac, mtu, up },
        permanent,
        group,
        stacked,
    })
}

fn is_stacked(info: &LinkInfo) -> bool {
    matches!(
        info,
        LinkInfo::Kind(
            InfoKind::Vlan
                | InfoKind::MacVlan
                | InfoKind::MacVtap
                | InfoKind::IpVlan
                | InfoKind::IpVtap
                | InfoKind::Bridge
                | InfoKind::Bond
        )
    )
}

fn mac_of(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

/// Everything in the socket's namespace that the plans know. Foreign routes are read only for the links in `enis`.
pub(crate) fn view(socket: &mut NetlinkSocket, enis: &[IfName]) -> io::Result<View> {
    let found = links(socket)?;
    let by_index: BTreeMap<u32, IfName> = found.iter().map(|l| (l.index, l.name.clone())).collect();
    let mut view = View::default();
    for family in Family::BOTH {
        routes(socket, family, names::PROTOCOL, None, &by_index, &mut view)?;
        for eni in found.iter().filter(|l| enis.contains(&l.name)) {
            routes(socket, family, 0, Some(eni.index), &by_index, &mut view)?;
        }
        for message in rules(socket, family)? {
            if let RouteNetlinkMessage::NewRule(message) = message {
                view.rules.extend(rule(&message, family));
            }
        }
    }
    for message in socket.dump(message::all_addresses())? {
        if let RouteNetlinkMessage::NewAddress(message) = message {
            let ip = message.attributes.iter().find_map(|a| match a {
                AddressAttribute::Local(ip) => Some(*ip),
                _ => None,
            });
            // IPv6 carries only the address attribute.
            let ip = ip.or_else(|| {
                message.attributes.iter().find_map(|a| match a {
                    AddressAttribute::Address(ip) => Some(*ip),
                    _ => None,
                })
            });
            let net = ip.and_then(|ip| IpNet::new(ip, message.header.prefix_len).ok());
            if let (Some(net), Some(link)) = (net, by_index.get(&message.header.index)) {
                view.addresses.insert(LinkAddress { link: link.clone(), net });
            }
        }
    }
    for message in socket.dump(message::all_neighbours())? {
        if let RouteNetlinkMessage::NewNeighbour(message) = message {
            view.neighbours.extend(neighbour(&message, &by_index));
        }
    }
    for (_, payload) in socket.dump_raw(&tc::all())? {
        let Some((index, rate)) = tc::root_bucket(&payload) else { continue };
        if let Some(link) = by_index.get(&index) {
            view.shapes.insert(link.clone(), rate);
        }
    }
    view.links = found.into_iter().map(|l| (l.name, l.state)).collect();
    Ok(view)
}

/// A kernel without IPv6 has no rules of it.
fn rules(socket: &mut NetlinkSocket, family: Family) -> io::Result<Vec<RouteNetlinkMessage>> {
    match socket.dump(message::all_rules(family)) {
        Err(e) if Errno::from_raw(e.raw_os_error().unwrap_or(0)) == Errno::EAFNOSUPPORT => {
            Ok(Vec::new())
        }
        other => other,
    }
}

fn routes(
    socket: &mut NetlinkSocket,
    family: Family,
    protocol: u8,
    link: Option<u32>,
    by_index: &BTreeMap<u32, IfName>,
    view: &mut View,
) -> io::Result<()> {
    for message in socket.dump(message::all_routes(family, protocol, link))? {
        let RouteNetlinkMessage::NewRoute(message) = message else { continue };
        let Some((route, index, metric)) = route(&message, family, by_index) else { continue };
        match u8::from(message.header.protocol) {
            names::PROTOCOL => {
                view.routes.insert(route);
            }
            KERNEL => {}
            // A kernel without strict dumps answers with every link: look again.
            protocol if link == Some(index) => {
                view.foreign.insert(ForeignRoute { route, protocol, metric });
            }
            _ => {}
        }
    }
    Ok(())
}

fn route(
    message: &RouteMessage,
    family: Family,
    by_index: &BTreeMap<u32, IfName>,
) -> Option<(Route, u32, u32)> {
    // Asked for a family that it does not have, the kernel answers with all others.
    if message.header.kind != RouteType::Unicast
        || message.header.address_family != message::family(family)
    {
        return None;
    }
    let unspecified = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let (mut table, mut dst, mut via, mut src) =
        (u32::from(message.header.table), unspecified, None, None);
    let (mut index, mut metric) = (0, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(ip) => dst = ip_of(ip)?,
            RouteAttribute::Gateway(ip) => via = Some(ip_of(ip)?),
            RouteAttribute::PrefSource(ip) => src = Some(ip_of(ip)?),
            RouteAttribute::Oif(i) => index = *i,
            RouteAttribute::Priority(value) => metric = *value,
            _ => {}
        }
    }
    let dst = IpNet::new(dst, message.header.destination_prefix_length).ok()?;
    let link = by_index.get(&index)?.clone();
    Some((Route { table, dst, via, link, src }, index, metric))
}

/// Protocol number of the route that stands where ours should.
pub(crate) fn owner_of(socket: &mut NetlinkSocket, wanted: &Route) -> io::Result<Option<u8>> {
    let family = Family::of(wanted.dst.addr());
    let all = socket.dump(message::all_routes(family, 0, None))?;
    Ok(all.into_iter().find_map(|message| {
        let RouteNetlinkMessage::NewRoute(message) = message else { return None };
        let same = message.header.destination_prefix_length == wanted.dst.prefix_len()
            && u32::from(message.header.table) == wanted.table
            && message.attributes.iter().any(|a| {
                matches!(a, RouteAttribute::Destination(ip) if ip_of(ip) == Some(wanted.dst.addr()))
            });
        same.then(|| u8::from(message.header.protocol))
    }))
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

fn rule(message: &RuleMessage, family: Family) -> Option<Rule> {
    let (mut table, mut priority) = (u32::from(message.header.table), 0);
    let (mut mark, mut bits, mut ours) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Priority(number) => priority = *number,
            RuleAttribute::FwMark(value) => mark = Some(*value),
            RuleAttribute::FwMask(value) => bits = Some(*value),
            RuleAttribute::Protocol(protocol) => ours = u8::from(*protocol) == names::PROTOCOL,
            _ => {}
        }
    }
    let mark = mark.map(|mark| (mark, bits.unwrap_or(u32::MAX)));
    ours.then_some(Rule { family, priority, mark, table })
}

fn neighbour(message: &NeighbourMessage, by_index: &BTreeMap<u32, IfName>) -> Option<Neighbour> {
    let families = [AddressFamily::Inet, AddressFamily::Inet6];
    if message.header.state != NeighbourState::Permanent
        || !families.contains(&message.header.family)
    {
        return None;
    }
    let (mut ip, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => ip = Some(IpAddr::V4(*a)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => {
                ip = Some(IpAddr::V6(*a));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = mac_of(bytes),
            _ => {}
        }
    }
    let link = by_index.get(&message.header.ifindex)?.clone();
    Some(Neighbour { link, ip: ip?, mac: mac? })
}

//! Objects of the plan as rtnetlink requests. Indices of links are already known here.

use std::os::fd::{AsRawFd, RawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
    link::{
        InfoData, InfoKind, InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo,
        LinkMessage,
    },
    neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{
        RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
    },
    rule::{RuleAction, RuleAttribute, RuleMessage},
};
use std::net::IpAddr;
use tideway_datapath::{ForeignRoute, LinkAddress, Neighbour, Route, Rule, VethPair, view::MAIN};
use tideway_model::{Family, IfName, Mac, names};

use crate::{netns::Namespace, socket::Request};

/// The kernel's number of a family.
pub(crate) fn family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn fd(ns: &Namespace) -> RawFd {
    ns.file().as_raw_fd()
}

fn link(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = attributes;
    message
}

/// Asks for one link, by name.
pub(crate) fn get_link(name: &IfName) -> Request {
    let name = LinkAttribute::IfName(name.as_str().to_owned());
    let lean = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
    Request::new(RouteNetlinkMessage::GetLink(link(0, vec![name, lean])), 0)
}

/// Asks for all links, without statistics.
pub(crate) fn all_links() -> RouteNetlinkMessage {
    let lean = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
    RouteNetlinkMessage::GetLink(link(0, vec![lean]))
}

/// Creates a veth pair with its second end in `pod`. One queue each: the kernel's default is one for every possible CPU,
/// which costs time and memory on large machines and serves only XDP.
pub(crate) fn veth(pair: &VethPair, pod: &Namespace) -> Request {
    let end = |name: &IfName, mac: Mac| {
        vec![
            LinkAttribute::IfName(name.as_str().to_owned()),
            LinkAttribute::Mtu(pair.mtu),
            LinkAttribute::Address(mac.0.to_vec()),
            LinkAttribute::NumTxQueues(1),
            LinkAttribute::NumRxQueues(1),
        ]
    };
    let mut inside = end(&pair.pod, pair.pod_mac);
    inside.push(LinkAttribute::NetNsFd(fd(pod)));
    let peer = InfoData::Veth(InfoVeth::Peer(link(0, inside)));
    let mut outside = end(&pair.host, pair.host_mac);
    outside
        .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(peer)]));
    let mut message = link(0, outside);
    up(&mut message, true);
    Request::new(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Creates an ifb device, up.
pub(crate) fn ifb(name: &IfName) -> Request {
    let mut message = link(
        0,
        vec![
            LinkAttribute::IfName(name.as_str().to_owned()),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Ifb)]),
        ],
    );
    up(&mut message, true);
    Request::new(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

fn up(message: &mut LinkMessage, up: bool) {
    message.header.change_mask = LinkFlags::Up;
    message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
}

/// Sets a link up or down.
pub(crate) fn set_up(index: u32, state: bool) -> Request {
    let mut message = link(index, Vec::new());
    up(&mut message, state);
    Request::new(RouteNetlinkMessage::SetLink(message), 0)
}

/// Moves a link into another namespace under another name; the kernel takes it down on the way.
pub(crate) fn move_link(index: u32, to: &Namespace, name: &IfName) -> Request {
    let attributes =
        vec![LinkAttribute::NetNsFd(fd(to)), LinkAttribute::IfName(name.as_str().to_owned())];
    Request::new(RouteNetlinkMessage::SetLink(link(index, attributes)), 0)
}

/// Sets the MAC of a link.
pub(crate) fn set_mac(index: u32, mac: Mac) -> Request {
    let attributes = vec![LinkAttribute::Address(mac.0.to_vec())];
    Request::new(RouteNetlinkMessage::SetLink(link(index, attributes)), 0)
}

/// Sets the MTU of a link.
pub(crate) fn set_mtu(index: u32, mtu: u32) -> Request {
    Request::new(RouteNetlinkMessage::SetLink(link(index, vec![LinkAttribute::Mtu(mtu)])), 0)
}

/// Puts a link into a group, by which many are deleted with one message.
pub(crate) fn set_group(index: u32, group: u32) -> Request {
    Request::new(RouteNetlinkMessage::SetLink(link(index, vec![LinkAttribute::Group(group)])), 0)
}

/// Deletes one link.
pub(crate) fn del_link(index: u32) -> Request {
    Request::new(RouteNetlinkMessage::DelLink(link(index, Vec::new())), 0)
}

/// Deletes all links of a group.
pub(crate) fn del_group(group: u32) -> Request {
    Request::new(RouteNetlinkMessage::DelLink(link(0, vec![LinkAttribute::Group(group)])), 0)
}

/// An address on a link. IPv6 skips duplicate address detection: the cloud gave the address to us alone.
pub(crate) fn address(index: u32, address: &LinkAddress) -> AddressMessage {
    let ip = address.net.addr();
    let mut message = AddressMessage::default();
    message.header.family = family(Family::of(ip));
    message.header.prefix_len = address.net.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.header.index = index;
    message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
    if ip.is_ipv6() {
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    message
}

/// Adds an address.
pub(crate) fn put_address(index: u32, a: &LinkAddress) -> Request {
    Request::new(RouteNetlinkMessage::NewAddress(address(index, a)), NLM_F_CREATE | NLM_F_EXCL)
}

/// Removes an address.
pub(crate) fn del_address(index: u32, a: &LinkAddress) -> Request {
    Request::new(RouteNetlinkMessage::DelAddress(address(index, a)), 0)
}

fn route(index: u32, route: &Route, protocol: u8) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = family(Family::of(route.dst.addr()));
    header.destination_prefix_length = route.dst.prefix_len();
    header.table = u8::try_from(route.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    header.protocol = RouteProtocol::from(protocol);
    header.kind = RouteType::Unicast;
    header.scope = RouteScope::Universe;
    match (route.dst.addr(), route.via) {
        (IpAddr::V4(_), Some(_)) => header.flags = RouteFlags::Onlink,
        (IpAddr::V4(_), None) => header.scope = RouteScope::Link,
        (IpAddr::V6(_), _) => {}
    }
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Table(route.table));
    if route.dst.prefix_len() > 0 {
        attributes.push(RouteAttribute::Destination(route.dst.addr().into()));
    }
    if let Some(via) = route.via {
        attributes.push(RouteAttribute::Gateway(via.into()));
    }
    if let Some(src) = route.src {
        attributes.push(RouteAttribute::PrefSource(src.into()));
    }
    attributes.push(RouteAttribute::Oif(index));
    message
}

/// Adds a route. In `main` a route of somebody else must not be replaced by accident: there EEXIST is looked into.
pub(crate) fn put_route(index: u32, wanted: &Route, exclusive: bool) -> Request {
    let how = if exclusive { NLM_F_EXCL } else { NLM_F_REPLACE };
    let message = route(index, wanted, names::PROTOCOL);
    Request::new(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | how)
}

/// Removes a route with our protocol number.
pub(crate) fn del_route(index: u32, wanted: &Route) -> Request {
    let mut message = route(index, wanted, names::PROTOCOL);
    message.header.scope = RouteScope::NoWhere;
    message.header.flags = RouteFlags::empty();
    Request::new(RouteNetlinkMessage::DelRoute(message), 0)
}

/// Removes a route of somebody else from one of our ENIs.
pub(crate) fn del_foreign(index: u32, foreign: &ForeignRoute) -> Request {
    let mut message = route(index, &foreign.route, foreign.protocol);
    message.header.scope = RouteScope::NoWhere;
    message.header.flags = RouteFlags::empty();
    if foreign.metric != 0 {
        message.attributes.push(RouteAttribute::Priority(foreign.metric));
    }
    Request::new(RouteNetlinkMessage::DelRoute(message), 0)
}

fn neighbour(index: u32, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(Family::of(ip));
    message.header.ifindex = index;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(NeighbourAttribute::Destination(ip.into()));
    message
}

/// Adds or corrects a permanent neighbour.
pub(crate) fn put_neighbour(index: u32, n: &Neighbour) -> Request {
    let mut message = neighbour(index, n.ip);
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(n.mac.0.to_vec()));
    Request::new(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Removes a neighbour.
pub(crate) fn del_neighbour(index: u32, n: &Neighbour) -> Request {
    Request::new(RouteNetlinkMessage::DelNeighbour(neighbour(index, n.ip)), 0)
}

fn rule(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(rule.family);
    message.header.action = RuleAction::ToTable;
    message.header.table = u8::try_from(rule.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    message.attributes = vec![
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Protocol(RouteProtocol::from(names::PROTOCOL)),
    ];
    if let Some((mark, mask)) = rule.mark {
        message.attributes.push(RuleAttribute::FwMark(mark));
        message.attributes.push(RuleAttribute::FwMask(mask));
    }
    message
}

/// Adds a rule.
pub(crate) fn put_rule(r: &Rule) -> Request {
    Request::new(RouteNetlinkMessage::NewRule(rule(r)), NLM_F_CREATE | NLM_F_EXCL)
}

/// Removes a rule with our protocol number.
pub(crate) fn del_rule(r: &Rule) -> Request {
    Request::new(RouteNetlinkMessage::DelRule(rule(r)), 0)
}

/// Asks for routes: of one protocol, and of one link if an index is given.
pub(crate) fn all_routes(of: Family, protocol: u8, index: Option<u32>) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(of);
    message.header.protocol = RouteProtocol::from(protocol);
    message.header.kind = RouteType::Unspec;
    message.header.scope = RouteScope::Universe;
    message.attributes.extend(index.map(RouteAttribute::Oif));
    RouteNetlinkMessage::GetRoute(message)
}

/// Asks for rules.
pub(crate) fn all_rules(of: Family) -> RouteNetlinkMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(of);
    RouteNetlinkMessage::GetRule(message)
}

/// Asks for addresses.
pub(crate) fn all_addresses() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetAddress(AddressMessage::default())
}

/// Asks for neighbours.
pub(crate) fn all_neighbours() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default())
}

/// The main table's number, for callers that compare.
pub(crate) const TABLE_MAIN: u32 = MAIN;

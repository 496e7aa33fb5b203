//! The one description of what a pod, a shared ENI and the host need: everything else is derived from it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tideway_model::{Attachment, Family, IfName, Mode, names};

use crate::{
    HostFacts, Link, LinkAddress, Neighbour, Route, Rule, SharedEniNet, Tbf, View,
    naming::{host_link_name, ifb_name, peer_in_pod, veth_macs},
    view::MAIN,
};

/// A host route's destination.
pub fn host_net(ip: IpAddr) -> IpNet {
    IpNet::from(ip)
}

/// The default destination of a family.
pub fn default_net(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(Ipv4Net::default()),
        Family::V6 => IpNet::V6(Ipv6Net::default()),
    }
}

/// The gateway that pods see at the host end of a veth.
pub fn pod_gateway(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(names::GATEWAY_V4),
        Family::V6 => IpAddr::V6(names::GATEWAY_V6),
    }
}

/// Link-local IPv4: node-local services such as a DNS cache live there.
fn link_local_v4() -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16))
}

/// Whether the kernel itself gives such an address to a link (IPv6 link-local).
pub fn is_kernel_address(net: &IpNet) -> bool {
    match net.addr() {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => is_link_local_v6(ip),
    }
}

fn is_link_local_v6(ip: Ipv6Addr) -> bool {
    ip.segments().first().is_some_and(|s| s & 0xffc0 == 0xfe80)
}

/// What must exist on the host for one attachment.
pub fn host(a: &Attachment) -> View {
    let mut view = View::default();
    let link = host_link_name(&a.key, a.mode);
    let (host_mac, pod_mac) = veth_macs(&a.key);
    view.links.insert(link.clone(), Link { mac: Some(host_mac), mtu: a.mtu, up: true });
    let table = match a.mode {
        Mode::Veth => names::TABLE_PODS,
        Mode::Exclusive => MAIN,
    };
    for ip in a.addresses.iter() {
        let dst = host_net(ip);
        view.routes.insert(Route { table, dst, via: None, link: link.clone(), src: None });
        view.neighbours.insert(Neighbour { link: link.clone(), ip, mac: pod_mac });
    }
    if a.mode == Mode::Veth {
        if let Some(tbf) = Tbf::ingress(&a.bandwidth) {
            view.shapes.insert(link, tbf.rate);
        }
        if let Some(tbf) = Tbf::egress(&a.bandwidth) {
            let ifb = ifb_name(&a.key);
            view.links.insert(ifb.clone(), Link { mac: None, mtu: a.mtu, up: true });
            view.shapes.insert(ifb, tbf.rate);
        }
    }
    view
}

/// What must exist in the pod's namespace for one attachment.
pub fn pod(a: &Attachment, facts: &HostFacts) -> View {
    match a.mode {
        Mode::Veth => veth_pod(a),
        Mode::Exclusive => exclusive_pod(a, facts),
    }
}

fn veth_pod(a: &Attachment) -> View {
    let mut view = View::default();
    let (host_mac, pod_mac) = veth_macs(&a.key);
    let link = &a.key.ifname;
    view.links.insert(link.clone(), Link { mac: Some(pod_mac), mtu: a.mtu, up: true });
    for ip in a.addresses.iter() {
        let family = Family::of(ip);
        let gateway = pod_gateway(family);
        view.addresses.insert(LinkAddress { link: link.clone(), net: host_net(ip) });
        if family == Family::V4 {
            view.routes.insert(in_pod(host_net(gateway), None, link, None));
        }
        view.routes.insert(in_pod(default_net(family), Some(gateway), link, None));
        view.neighbours.insert(Neighbour { link: link.clone(), ip: gateway, mac: host_mac });
    }
    view
}

fn exclusive_pod(a: &Attachment, facts: &HostFacts) -> View {
    let mut view = View::default();
    let (host_mac, pod_mac) = veth_macs(&a.key);
    let (eni, peer) = (&a.key.ifname, peer_in_pod());
    view.links.insert(eni.clone(), Link { mac: Some(a.eni_mac), mtu: a.mtu, up: true });
    view.links.insert(peer.clone(), Link { mac: Some(pod_mac), mtu: a.mtu, up: true });
    let (blocks, gateways) = match &a.exclusive {
        Some(e) => (e.blocks.as_slice(), e.gateways.as_slice()),
        None => (&[][..], &[][..]),
    };
    for ip in a.addresses.iter() {
        let family = Family::of(ip);
        view.addresses.insert(LinkAddress { link: eni.clone(), net: in_subnet(ip, blocks) });
        let host = pod_gateway(family);
        let inside = inside_only(facts, family);
        if let Some(gateway) = gateways.iter().find(|g| Family::of(**g) == family) {
            for dst in inside.clone().unwrap_or_else(|| vec![default_net(family)]) {
                view.routes.extend(by_gateway(MAIN, dst, *gateway, eni));
            }
        }
        if inside.is_some() {
            view.routes.insert(in_pod(default_net(family), Some(host), &peer, Some(ip)));
        }
        view.neighbours.insert(Neighbour { link: peer.clone(), ip: host, mac: host_mac });
        if family == Family::V4 {
            view.routes.insert(in_pod(host_net(host), None, &peer, Some(ip)));
        }
        for dst in by_host(facts, family) {
            view.routes.insert(in_pod(dst, Some(host), &peer, Some(ip)));
        }
    }
    if let Some(tbf) = Tbf::egress(&a.bandwidth) {
        view.shapes.insert(eni.clone(), tbf.rate);
    }
    if let Some(tbf) = Tbf::ingress(&a.bandwidth) {
        let ifb = ifb_name(&a.key);
        view.links.insert(ifb.clone(), Link { mac: None, mtu: a.mtu, up: true });
        view.shapes.insert(ifb, tbf.rate);
    }
    view
}

/// The blocks that an exclusive pod reaches by its ENI when everything beyond them leaves by the host, which masquerades
/// it; nothing when the ENI is its way to everywhere.
fn inside_only(facts: &HostFacts, family: Family) -> Option<Vec<IpNet>> {
    let inside = facts.vpc_blocks.iter().map(IpNet::trunc);
    let inside: Vec<IpNet> = inside.filter(|b| Family::of(b.addr()) == family).collect();
    (!facts.external_snat && !inside.is_empty()).then_some(inside)
}

/// What an exclusive pod reaches through the host instead of its ENI.
fn by_host(facts: &HostFacts, family: Family) -> impl Iterator<Item = IpNet> {
    let nodes = facts.node_ips.iter().map(|ip| host_net(*ip));
    let services = facts.service_cidrs.iter().chain(&facts.host_stack_cidrs).map(IpNet::trunc);
    let local = (family == Family::V4).then(link_local_v4);
    nodes.chain(services).chain(local).filter(move |net| Family::of(net.addr()) == family)
}

/// IPv4 with the prefix of the subnet, as DHCP would give it. IPv6 alone: neighbours are reached by the gateway.
fn in_subnet(ip: IpAddr, blocks: &[IpNet]) -> IpNet {
    let block = blocks.iter().find(|b| ip.is_ipv4() && b.contains(&ip));
    block.and_then(|b| IpNet::new(ip, b.prefix_len()).ok()).unwrap_or_else(|| host_net(ip))
}

/// The default route of an ENI. IPv4 takes the gateway on-link. IPv6 refuses that when `main` reaches the gateway by another
/// link, as it does when two ENIs share a subnet (`ip6_route_check_nh_onlink`); there the gateway gets a route of its own in
/// the same table, which the kernel asks first.
fn default_by(table: u32, gateway: IpAddr, link: &IfName) -> impl Iterator<Item = Route> {
    by_gateway(table, default_net(Family::of(gateway)), gateway, link)
}

/// The same to one destination.
fn by_gateway(
    table: u32,
    dst: IpNet,
    gateway: IpAddr,
    link: &IfName,
) -> impl Iterator<Item = Route> {
    let route = |dst, via| Route { table, dst, via, link: link.clone(), src: None };
    let global_v6 = matches!(gateway, IpAddr::V6(ip) if !is_link_local_v6(ip));
    let own = global_v6.then(|| route(host_net(gateway), None));
    own.into_iter().chain([route(dst, Some(gateway))])
}

fn in_pod(dst: IpNet, via: Option<IpAddr>, link: &IfName, src: Option<IpAddr>) -> Route {
    Route { table: MAIN, dst, via, link: link.clone(), src }
}

/// Rules that every node has: local pods first.
pub fn base(facts: &HostFacts) -> View {
    let mut view = View::default();
    for family in facts.families() {
        view.rules.insert(local_pods(*family));
    }
    view
}

fn local_pods(family: Family) -> Rule {
    Rule { family, priority: names::RULE_PODS, mark: None, table: names::TABLE_PODS }
}

/// What must exist on the host for a shared ENI whose link is `link`.
pub fn shared_eni(eni: &SharedEniNet, link: &IfName) -> View {
    let mut view = View::default();
    for family in Family::BOTH {
        let Some(gateway) = eni.subnet.gateway(family) else { continue };
        view.routes.extend(default_by(eni.table(), gateway, link));
        view.rules.insert(Rule {
            family,
            priority: names::RULE_ENI,
            mark: Some((eni.mark(), names::MARK_MASK)),
            table: eni.table(),
        });
        view.rules.insert(local_pods(family));
    }
    view
}

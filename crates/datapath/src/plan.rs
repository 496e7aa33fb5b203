//! Ordered operations for the base of the host, for shared ENIs and for pods.

use tideway_model::{Attachment, Family, IfName, Mode, names};

use crate::{
    HostFacts, NetOp, Place, SharedEniNet, Tbf, VethPair, View,
    naming::{host_link_name, ifb_name, parked_name, peer_in_pod, veth_macs},
    nft, wanted,
};

fn sysctl(key: impl Into<String>, value: &str) -> NetOp {
    NetOp::Sysctl { key: key.into(), value: value.to_owned() }
}

/// IPv6 forwarding. `accept_ra` of the primary link goes first: with forwarding on, the kernel ignores router
/// advertisements (and drops the default route that they gave) unless it is 2.
fn forward_v6(facts: &HostFacts) -> [NetOp; 2] {
    [
        sysctl(format!("net/ipv6/conf/{}/accept_ra", facts.primary.ifname), "2"),
        sysctl("net/ipv6/conf/all/forwarding", "1"),
    ]
}

/// What every node needs before its first pod: forwarding, reverse-path filter, the rule to local pods, nftables.
///
/// The kernel's reverse-path filter works with the maximum of `all` and the interface's own value. `all` = 0 leaves the
/// decision to each interface; `default` = 0 makes every later link start with 0, so that ADD writes nothing.
pub fn base(facts: &HostFacts) -> Vec<NetOp> {
    let mut ops = vec![
        sysctl("net/ipv4/ip_forward", "1"),
        sysctl("net/ipv4/conf/all/rp_filter", "0"),
        sysctl("net/ipv4/conf/default/rp_filter", "0"),
    ];
    if facts.ipv6() {
        ops.extend(forward_v6(facts));
    }
    ops.extend(wanted::base(facts).rules.into_iter().map(NetOp::PutRule));
    ops.push(NetOp::Nft(nft::base(facts)));
    ops
}

/// Makes the link of a shared ENI ready: up, without address, with its own table and rules.
pub fn prepare(eni: &SharedEniNet, link: &IfName, facts: &HostFacts) -> Vec<NetOp> {
    let mut ops = vec![sysctl(format!("net/ipv4/conf/{link}/rp_filter"), "0")];
    if eni.subnet.gateway(Family::V6).is_some() {
        ops.push(sysctl(format!("net/ipv6/conf/{link}/accept_ra"), "0"));
        ops.extend(forward_v6(facts));
    }
    ops.push(NetOp::LinkUp(Place::Host, link.clone()));
    ops.extend(puts(Place::Host, wanted::shared_eni(eni, link)));
    ops
}

/// Takes back what [`prepare`] made, before the ENI is detached: traffic stops leaving by it, then the link goes down.
pub fn retire(slot: u16, observed: &View, link: Option<&IfName>) -> Vec<NetOp> {
    let table = crate::facts::table_of(slot);
    let rules = observed.rules.iter().filter(|r| r.table == table).map(|r| NetOp::DropRule(*r));
    let routes = observed.routes.iter().filter(|r| r.table == table);
    rules
        .chain(routes.map(|r| NetOp::DropRoute(Place::Host, r.clone())))
        .chain(link.map(|l| NetOp::LinkDown(Place::Host, l.clone())))
        .collect()
}

/// Plumbs a pod. Links first, then the pod's side, then the host's: the pod is reachable only when it can answer.
pub fn add(a: &Attachment, facts: &HostFacts) -> Vec<NetOp> {
    let (host, (host_mac, pod_mac)) = (host_link_name(&a.key, a.mode), veth_macs(&a.key));
    let mut ops = Vec::with_capacity(16);
    let in_pod = match a.mode {
        Mode::Veth => a.key.ifname.clone(),
        Mode::Exclusive => {
            let (mac, ifname) = (a.eni_mac, a.key.ifname.clone());
            ops.push(NetOp::TakeEni { mac, ifname, mtu: a.mtu });
            peer_in_pod()
        }
    };
    ops.push(NetOp::Veth(VethPair {
        host: host.clone(),
        host_mac,
        pod: in_pod.clone(),
        pod_mac,
        mtu: a.mtu,
    }));
    ops.push(NetOp::LinkUp(Place::Pod, in_pod));
    if a.mode == Mode::Exclusive {
        ops.push(NetOp::LinkUp(Place::Pod, a.key.ifname.clone()));
    }
    ops.extend(puts(Place::Pod, wanted::pod(a, facts)));
    ops.extend(puts(Place::Host, wanted::host(a)));
    ops.extend(shape(a, &host));
    ops
}

/// Rate limits. Each direction is shaped where it leaves a link; what enters a link is redirected to an ifb first.
pub fn shape(a: &Attachment, host: &IfName) -> Vec<NetOp> {
    let (place, link, out, back) = match a.mode {
        Mode::Veth => (Place::Host, host, Tbf::ingress(&a.bandwidth), Tbf::egress(&a.bandwidth)),
        Mode::Exclusive => {
            (Place::Pod, &a.key.ifname, Tbf::egress(&a.bandwidth), Tbf::ingress(&a.bandwidth))
        }
    };
    let mut ops = Vec::new();
    if let Some(tbf) = out {
        ops.push(NetOp::Shape(place, link.clone(), tbf));
    }
    if let Some(tbf) = back {
        let ifb = ifb_name(&a.key);
        ops.push(NetOp::Ifb(place, ifb.clone()));
        ops.push(NetOp::Shape(place, ifb.clone(), tbf));
        ops.push(NetOp::Redirect(place, link.clone(), ifb));
    }
    ops
}

/// Takes a pod's network away: routes and neighbours at once, links later. An exclusive ENI leaves the namespace first.
pub fn del(a: &Attachment) -> Vec<NetOp> {
    let wanted = wanted::host(a);
    let mut ops = Vec::with_capacity(6);
    if a.mode == Mode::Exclusive {
        let (mac, ifname) = (a.eni_mac, a.key.ifname.clone());
        ops.push(NetOp::ReturnEni { mac, ifname, parked: parked_name(mac) });
        if Tbf::ingress(&a.bandwidth).is_some() {
            ops.push(NetOp::DropLink(Place::Pod, ifb_name(&a.key)));
        }
    }
    ops.extend(wanted.routes.into_iter().map(|r| NetOp::DropRoute(Place::Host, r)));
    ops.extend(wanted.neighbours.into_iter().map(|n| NetOp::DropNeighbour(Place::Host, n)));
    ops.push(NetOp::RetireLinks(wanted.links.into_keys().collect()));
    ops
}

/// Operations that add the objects of a view, links excepted. Routes without gateway come first: others lean on them.
pub fn puts(place: Place, view: View) -> impl Iterator<Item = NetOp> {
    let addresses = view.addresses.into_iter().map(move |a| NetOp::PutAddress(place, a));
    let neighbours = view.neighbours.into_iter().map(move |n| NetOp::PutNeighbour(place, n));
    let (by_gateway, direct): (Vec<_>, Vec<_>) =
        view.routes.into_iter().partition(|r| r.via.is_some());
    let routes = direct.into_iter().chain(by_gateway).map(move |r| NetOp::PutRoute(place, r));
    let rules = view.rules.into_iter().map(NetOp::PutRule);
    addresses.chain(neighbours).chain(routes).chain(rules)
}

/// Sysctl of the base that a later look compares with, without the IPv6 ones when the node has none.
pub fn sysctls(facts: &HostFacts) -> Vec<(String, String)> {
    base(facts)
        .into_iter()
        .filter_map(
            |op| if let NetOp::Sysctl { key, value } = op { Some((key, value)) } else { None },
        )
        .collect()
}

/// Tables that belong to us alone.
pub fn is_our_table(table: u32) -> bool {
    let slots = u32::from(crate::facts::MAX_TABLE_SLOT);
    table == names::TABLE_PODS || (names::TABLE_ENI..=names::TABLE_ENI + slots).contains(&table)
}

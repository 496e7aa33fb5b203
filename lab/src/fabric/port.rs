//! An ENI as `ip` commands: the port in the VPC's namespace and the link in the instance. Pure text.
//!
//! The port is routed, not bridged: a real VPC delivers by its own table and never asks the guest. Hence a host route
//! **and** a permanent neighbour (the ENI's MAC) per assigned address; an `IPv6` prefix goes by one route to a next hop
//! that is nothing but that MAC. The gateway's address sits on every port, so that ARP and NDP for it are answered there;
//! other `IPv4` neighbours are answered by proxy ARP (router.rs).

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::EniNet;

/// Link group of all ports, by which a cleanup finds them in one go.
pub(super) const PORT_GROUP: u32 = 7;
/// MAC of the VPC on every port, as the cloud's gateways show it.
const GATEWAY_MAC: &str = "ee:ff:ff:ff:ff:ff";
/// The VPC on every port in `IPv6`: clouds announce their routers by link-local address. A route to the gateway's global
/// address in the main table would also make the kernel refuse it as an `onlink` gateway on any other ENI.
const ROUTER_V6: &str = "fe80::eeff:ffff:feff:ffff";
/// The guest on every port, as the next hop of its prefixes: a permanent neighbour that nobody ever asks for.
const GUEST_V6: &str = "fe80::eeff:ffff:feff:fffe";
/// Metric of the primary ENI's default routes, as DHCP clients set it.
const DEFAULT_METRIC: u32 = 100;

/// Name of the port in the VPC's namespace.
pub(super) fn name(eni: &EniNet) -> String {
    format!("p{}", eni.index)
}

/// Commands for the VPC's namespace that make the pair; its other end is born in `namespace`.
/// `bare` names it as the kernel names hardware; otherwise it is `eth0`.
pub(super) fn plug(eni: &EniNet, namespace: &str, bare: bool) -> Vec<String> {
    let port = name(eni);
    let peer = if bare { "eth%d" } else { "eth0" };
    let mac = eni.mac_text();
    let mut lines = vec![
        format!(
            "link add name {port} address {GATEWAY_MAC} mtu 1500 group {PORT_GROUP} type veth \
             peer name {peer} address {mac} mtu 1500 netns {namespace}"
        ),
        format!("link set dev {port} up"),
        // The usual hesitation (up to 0.8 s) before a proxy answer is for shared segments; a port has one neighbour.
        format!("ntable change name arp_cache dev {port} proxy_delay 0"),
        format!("address add {ROUTER_V6}/64 dev {port} nodad"),
        format!("neighbour replace {GUEST_V6} lladdr {mac} dev {port} nud permanent"),
    ];
    if let Some(gateway) = eni.gateway_v4 {
        lines.push(format!("address add {gateway}/32 dev {port}"));
    }
    if let Some(gateway) = eni.gateway_v6 {
        lines.push(format!("address add {gateway}/128 dev {port} nodad noprefixroute"));
    }
    lines.extend(assign(eni, &eni.delivered()));
    lines
}

/// Commands for the VPC's namespace that lead addresses and prefixes to the ENI.
pub(super) fn assign(eni: &EniNet, wanted: &BTreeSet<IpNet>) -> Vec<String> {
    let (port, mac) = (name(eni), eni.mac_text());
    let lines = wanted.iter().flat_map(|block| {
        if is_prefix(block) {
            return vec![format!(
                "route replace {block} via {GUEST_V6} dev {port} onlink proto static"
            )];
        }
        let address = block.addr();
        vec![
            format!("neighbour replace {address} lladdr {mac} dev {port} nud permanent"),
            format!("route replace {block} dev {port} proto static"),
        ]
    });
    lines.collect()
}

/// Commands for the VPC's namespace that lead addresses and prefixes no longer to the ENI.
pub(super) fn withdraw(eni: &EniNet, gone: &BTreeSet<IpNet>) -> Vec<String> {
    let port = name(eni);
    let lines = gone.iter().flat_map(|block| {
        let mut lines = vec![format!("route del {block} dev {port}")];
        if !is_prefix(block) {
            lines.push(format!("neighbour del {} dev {port}", block.addr()));
        }
        lines
    });
    lines.collect()
}

/// Whether it is more than one address.
fn is_prefix(block: &IpNet) -> bool {
    block.prefix_len() < block.max_prefix_len()
}

/// Commands for the instance's namespace that configure the primary ENI as a boot does.
///
/// `IPv6` addresses come as /128, as `DHCPv6` hands them out: only the router is a neighbour.
pub(super) fn configure_primary(eni: &EniNet) -> Vec<String> {
    let mut lines = vec!["link set dev eth0 up".to_owned()];
    lines.extend(dhcp(eni, "eth0", "replace", DEFAULT_METRIC));
    lines
}

/// Commands of the fault `meddling` on the link `old` in the instance, renamed to `new`.
///
/// The `IPv4` default route goes before the primary ENI's at the same metric, the `IPv6` one has a better metric: both
/// pull the host's own traffic to the wrong ENI, as the worst of the real cases do.
pub(super) fn meddle(eni: &EniNet, old: &str, new: &str) -> Vec<String> {
    let mut lines = vec![
        format!("link set dev {old} down"),
        format!("link set dev {old} name {new}"),
        format!("link set dev {new} up"),
    ];
    lines.extend(dhcp(eni, new, "prepend", DEFAULT_METRIC / 2));
    lines
}

/// What DHCP and router advertisements bring: the first address of each family and a default route with it.
/// Equal metrics in `IPv6` would make one multipath route, hence a metric of its own.
fn dhcp(eni: &EniNet, link: &str, verb_v4: &str, metric_v6: u32) -> Vec<String> {
    let mut lines = Vec::new();
    let first_v4 = eni.addresses.iter().find(|a| a.is_ipv4());
    if let (Some(address), Some(subnet), Some(gateway)) = (first_v4, eni.subnet_v4, eni.gateway_v4)
    {
        lines.push(format!("address replace {address}/{} dev {link}", subnet.prefix_len()));
        lines.push(format!(
            "route {verb_v4} default via {gateway} dev {link} proto dhcp src {address} metric {DEFAULT_METRIC}"
        ));
    }
    if let Some(address) = eni.addresses.iter().find(|a| a.is_ipv6()) {
        lines.push(format!("address replace {address}/128 dev {link} nodad noprefixroute"));
        lines.push(format!(
            "route replace default via {ROUTER_V6} dev {link} proto ra src {address} metric {metric_v6}"
        ));
    }
    lines
}

#[cfg(test)]
#[path = "port/tests.rs"]
mod tests;

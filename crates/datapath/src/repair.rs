//! The difference between what should be on the host and what is, as operations.
//!
//! Only objects that are recognisably ours are ever removed: routes and rules by protocol number, links by the form of their
//! name, addresses and routes of others only on links of our own shared ENIs.

use std::collections::BTreeSet;

use tideway_model::{Attachment, AttachmentKey, IfName};

use crate::{
    HostFacts, NetOp, Place, SharedEniNet, View,
    check::missing,
    naming::{host_link_name, is_pod_link},
    plan::{is_our_table, puts},
    view::MAIN,
    wanted,
};

/// What a repair consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repair {
    /// Operations on the host, in order.
    pub ops: Vec<NetOp>,
    /// Attachments whose links are gone: they must be plumbed anew if their namespace still lives.
    pub remake: Vec<AttachmentKey>,
    /// What was found, for people.
    pub reports: Vec<String>,
}

/// Compares the host with the wanted attachments and shared ENIs (each with the name of its link).
pub fn host(
    attachments: &[Attachment],
    enis: &[(SharedEniNet, IfName)],
    facts: &HostFacts,
    observed: &View,
) -> Repair {
    let mut repair = Repair::default();
    let mut wanted = wanted::base(facts);
    for (eni, link) in enis {
        wanted.extend(wanted::shared_eni(eni, link));
    }
    for a in attachments {
        let view = wanted::host(a);
        if view.links.keys().all(|name| observed.links.contains_key(name)) {
            wanted.extend(view);
        } else {
            let name = host_link_name(&a.key, a.mode);
            repair.reports.push(format!("a link of {} ({name}) is gone", a.pod.key));
            repair.remake.push(a.key.clone());
        }
    }
    remove(&mut repair, &wanted, observed, enis);
    put(&mut repair, &wanted, enis, observed);
    repair
}

/// What of ours on the host belongs to none of these, each object by itself.
pub fn strays(
    attachments: &[Attachment],
    enis: &[(SharedEniNet, IfName)],
    facts: &HostFacts,
    observed: &View,
) -> Vec<NetOp> {
    let mut wanted = wanted::base(facts);
    for (eni, link) in enis {
        wanted.extend(wanted::shared_eni(eni, link));
    }
    for a in attachments {
        wanted.extend(wanted::host(a));
    }
    let mut repair = Repair::default();
    remove(&mut repair, &wanted, observed, &[]);
    let mut strays = Vec::new();
    for op in repair.ops {
        if let NetOp::RetireLinks(links) = op {
            strays.extend(links.into_iter().map(|link| NetOp::RetireLinks(vec![link])));
        } else {
            strays.push(op);
        }
    }
    strays
}

/// Compares only what shared ENIs and the base need, without looking at pods: cheap enough to be done every few seconds.
pub fn enis(enis: &[(SharedEniNet, IfName)], facts: &HostFacts, observed: &View) -> Repair {
    let mut repair = Repair::default();
    let mut wanted = wanted::base(facts);
    for (eni, link) in enis {
        wanted.extend(wanted::shared_eni(eni, link));
    }
    clean(&mut repair, enis, observed);
    put(&mut repair, &wanted, enis, observed);
    repair
}

/// Operations that keep the link of an ENI which no pod uses bare and down, so that nobody routes through it.
pub fn idle(link: &IfName, observed: &View) -> Vec<NetOp> {
    let mut ops = foreign_on(link, observed);
    if observed.links.get(link).is_some_and(|l| l.up) {
        ops.push(NetOp::LinkDown(Place::Host, link.clone()));
    }
    ops
}

fn clean(repair: &mut Repair, enis: &[(SharedEniNet, IfName)], observed: &View) {
    for (eni, link) in enis {
        for op in foreign_on(link, observed) {
            repair.reports.push(format!("ENI {}: {op}", eni.id));
            repair.ops.push(op);
        }
    }
}

fn remove(repair: &mut Repair, wanted: &View, observed: &View, enis: &[(SharedEniNet, IfName)]) {
    let mut drop = |report: String, op: NetOp| {
        repair.reports.push(report);
        repair.ops.push(op);
    };
    for rule in observed.rules.difference(&wanted.rules) {
        drop(format!("unwanted rule {rule}"), NetOp::DropRule(*rule));
    }
    for route in observed.routes.difference(&wanted.routes) {
        if is_our_table(route.table) || (route.table == MAIN && is_pod_link(&route.link)) {
            drop(format!("unwanted route {route}"), NetOp::DropRoute(Place::Host, route.clone()));
        }
    }
    let unwanted: BTreeSet<&IfName> = observed
        .links
        .keys()
        .filter(|name| is_pod_link(name) && !wanted.links.contains_key(*name))
        .collect();
    for n in observed.neighbours.difference(&wanted.neighbours) {
        if is_pod_link(&n.link) && !unwanted.contains(&n.link) {
            drop(format!("unwanted neighbour {n}"), NetOp::DropNeighbour(Place::Host, n.clone()));
        }
    }
    if !unwanted.is_empty() {
        let names: Vec<IfName> = unwanted.into_iter().cloned().collect();
        let list: Vec<&str> = names.iter().map(IfName::as_str).collect();
        drop(format!("links without pod: {}", list.join(", ")), NetOp::RetireLinks(names));
    }
    clean(repair, enis, observed);
}

/// Addresses and routes that others (DHCP clients, cloud-init, network managers) put on the link of a shared ENI.
pub fn foreign_on(link: &IfName, observed: &View) -> Vec<NetOp> {
    let routes = observed.foreign.iter().filter(|r| r.route.link == *link);
    let addresses =
        observed.addresses.iter().filter(|a| a.link == *link && !wanted::is_kernel_address(&a.net));
    routes
        .map(|r| NetOp::CleanRoute(r.clone()))
        .chain(addresses.map(|a| NetOp::CleanAddress(a.clone())))
        .collect()
}

fn put(repair: &mut Repair, wanted: &View, enis: &[(SharedEniNet, IfName)], observed: &View) {
    let down = |name: &IfName| observed.links.get(name).is_some_and(|link| !link.up);
    let links = wanted.links.keys().chain(enis.iter().map(|(_, link)| link));
    let ups = links.filter(|name| down(name)).map(|n| NetOp::LinkUp(Place::Host, n.clone()));
    repair.ops.extend(ups);
    let mut lacking = lacking(wanted, observed);
    // With the last IPv4 address of a link the kernel drops all routes through it, whatever their table
    // (`fib_inetaddr_event`): those of an ENI that was cleaned are put again.
    let cleaned = |link: &IfName| {
        repair.ops.iter().any(|op| matches!(op, NetOp::CleanAddress(a) if a.link == *link))
    };
    lacking.routes.extend(wanted.routes.iter().filter(|r| cleaned(&r.link)).cloned());
    repair.reports.extend(missing(Place::Host, wanted, observed).iter().map(ToString::to_string));
    repair.ops.extend(puts(Place::Host, lacking));
}

/// Compares the pod's side of one attachment: only missing objects are put back, what else the pod has is its own.
pub fn pod(a: &Attachment, facts: &HostFacts, observed: &View) -> Repair {
    let wanted = wanted::pod(a, facts);
    let mut repair = Repair::default();
    if !wanted.links.keys().all(|name| observed.links.contains_key(name)) {
        repair.remake.push(a.key.clone());
        return repair;
    }
    let down = |name: &&IfName| observed.links.get(*name).is_some_and(|link| !link.up);
    let ups = wanted.links.keys().filter(down).map(|n| NetOp::LinkUp(Place::Pod, n.clone()));
    repair.ops.extend(ups);
    let found = missing(Place::Pod, &wanted, observed);
    repair.reports.extend(found.iter().map(|f| format!("{}: {f}", a.pod.key)));
    repair.ops.extend(puts(Place::Pod, lacking(&wanted, observed)));
    repair
}

fn lacking(wanted: &View, observed: &View) -> View {
    View {
        addresses: wanted.addresses.difference(&observed.addresses).cloned().collect(),
        routes: wanted.routes.difference(&observed.routes).cloned().collect(),
        rules: wanted.rules.difference(&observed.rules).copied().collect(),
        neighbours: wanted.neighbours.difference(&observed.neighbours).cloned().collect(),
        ..View::default()
    }
}

#[cfg(test)]
mod tests;

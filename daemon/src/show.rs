//! The books in the words of the wire, for people.

use std::sync::Arc;

use tideway_cloud::Cloud;
use tideway_ipam::{AddressState, Books, LeaseBook, Use};
use tideway_model::{Attachment, PodRef, names};
use tideway_netlink::{Datapath, Plumbed};
use tideway_proto::node::{
    AddReply, Address, Capacity, CloudError, Device, Eni, ExplainReply, Interface, Ip, Lease, Pod,
    PodView, Route, ShowReply, Waiting,
};

use crate::{clock, hands::Tools, service::NodeCard, sources::SourceErrors};

/// The answer to an ADD.
pub fn add_reply(plumbed: &Plumbed) -> AddReply {
    AddReply {
        interfaces: plumbed
            .interfaces
            .iter()
            .map(|i| Interface {
                name: i.name.to_string(),
                mac: i.mac.to_string(),
                sandbox: i.sandbox.clone().unwrap_or_default(),
                mtu: i.mtu,
            })
            .collect(),
        ips: plumbed
            .ips
            .iter()
            .map(|ip| Ip {
                address: ip.address.to_string(),
                gateway: ip.gateway.map(|g| g.to_string()).unwrap_or_default(),
                interface: u32::try_from(ip.interface).unwrap_or(0),
            })
            .collect(),
        routes: plumbed
            .routes
            .iter()
            .map(|r| Route {
                dst: r.dst.to_string(),
                gw: r.gw.map(|g| g.to_string()).unwrap_or_default(),
            })
            .collect(),
    }
}

async fn capacity<C: Cloud>(card: &NodeCard, tools: &Tools<C>) -> Capacity {
    let counts = tools.engine.counts(Arc::default()).await.unwrap_or_default();
    let adapters = counts.adapters.limit.saturating_sub(counts.adapters.foreign);
    Capacity {
        adapters,
        pods_per_adapter: counts.adapters.units_per_adapter,
        ..card.capacity.clone()
    }
}

/// The whole node.
pub async fn show<C: Cloud>(
    card: &NodeCard,
    tools: &Tools<C>,
    books: Books,
    sources: &SourceErrors,
) -> ShowReply {
    let (calls, errors) = tools.log.snapshot();
    let now = clock::boot();
    let macs = books.enis.iter().filter_map(|eni| eni.mac).collect();
    let links = tools.datapath.links_of(macs).await.unwrap_or_default();
    let mut enis = Vec::new();
    for eni in &books.enis {
        let link = eni.mac.and_then(|mac| links.get(&mac)).map(|link| link.name.to_string());
        enis.push(Eni {
            id: eni.id.as_ref().map(ToString::to_string).unwrap_or_default(),
            mac: eni.mac.map(|m| m.to_string()).unwrap_or_default(),
            state: eni.state.to_string(),
            r#use: match eni.usage {
                Use::Shared => "shared".to_owned(),
                Use::Exclusive(slot) => format!("exclusive ({slot})"),
            },
            subnet: eni.subnet.to_string(),
            addresses: eni
                .addresses
                .iter()
                .map(|(ip, state)| address(ip.to_string(), state, &books, now))
                .collect(),
            prefixes: eni.prefixes.iter().map(ToString::to_string).collect(),
            link: link.unwrap_or_default(),
            security_groups: eni.security_groups.iter().map(ToString::to_string).collect(),
            table: match eni.usage {
                Use::Shared => names::TABLE_ENI + u32::from(eni.table_slot),
                Use::Exclusive(_) => 0,
            },
        });
    }
    ShowReply {
        node: card.node.clone(),
        instance_id: tools.instance.to_string(),
        instance_type: card.instance_type.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        enis,
        waiting: waiting(&books, |_| true),
        cloud_errors: errors
            .into_iter()
            .map(|seen| CloudError {
                remedy: seen.error.remedy(),
                action: seen.error.action,
                code: seen.error.code,
                message: seen.error.message,
                unix_millis: seen.last,
                count: seen.count,
            })
            .collect(),
        cloud_calls: calls.into_iter().map(|(action, n)| (action.to_owned(), n)).collect(),
        pods: books.attachments.iter().map(pod_view).collect(),
        devices: books
            .devices
            .iter()
            .map(|d| Device {
                id: d.slot.to_string(),
                healthy: d.healthy,
                pod: d.holder.as_ref().map(|p| p.key.to_string()).unwrap_or_default(),
                eni: d.eni.as_ref().map(ToString::to_string).unwrap_or_default(),
            })
            .collect(),
        low: card.low.into(),
        high: card.high.into(),
        source_errors: sources.list(),
        shortfall: books.shortfall.clone().unwrap_or_default(),
        capacity: Some(capacity(card, tools).await),
        pending_links: 0,
        leases: books.leases.iter().map(lease).collect(),
    }
}

/// One pod.
pub async fn explain<C: Cloud>(
    tools: &Tools<C>,
    books: &Books,
    namespace: &str,
    name: &str,
) -> ExplainReply {
    let same = |pod: &PodRef| pod.key.namespace == namespace && pod.key.name == name;
    let mine: Vec<&Attachment> = books.attachments.iter().filter(|a| same(&a.pod)).collect();
    let mut findings = Vec::new();
    for attachment in &mine {
        match tools.datapath.check(attachment).await {
            Ok(found) => findings.extend(found),
            Err(e) => findings.push(format!("the kernel could not be read: {e}")),
        }
    }
    ExplainReply {
        attachments: mine.into_iter().map(pod_view).collect(),
        waiting: waiting(books, same),
        findings,
    }
}

fn waiting(books: &Books, which: impl Fn(&PodRef) -> bool) -> Vec<Waiting> {
    let now = clock::boot();
    let chosen = books.waiting.iter().filter(|w| which(&w.pod));
    chosen
        .map(|w| Waiting {
            pod: Some(pod(&w.pod)),
            container_id: w.key.container.to_string(),
            seconds: now.saturating_sub(w.since).as_secs_f64(),
            cause: w.why.to_string(),
        })
        .collect()
}

fn pod(pod: &PodRef) -> Pod {
    Pod {
        namespace: pod.key.namespace.clone(),
        name: pod.key.name.clone(),
        uid: pod.uid.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

fn pod_view(a: &Attachment) -> PodView {
    PodView {
        pod: Some(pod(&a.pod)),
        container_id: a.key.container.to_string(),
        ifname: a.key.ifname.to_string(),
        mode: match a.mode {
            tideway_model::Mode::Veth => "veth".into(),
            tideway_model::Mode::Exclusive => "exclusive".into(),
        },
        ips: a.addresses.iter().map(|ip| ip.to_string()).collect(),
        eni: a.eni.to_string(),
        host_link: Datapath::host_link_name(&a.key, a.mode).to_string(),
        netns: a.netns.clone(),
    }
}

fn lease(l: &LeaseBook) -> Lease {
    Lease {
        pod: l.pod.to_string(),
        ips: l.addresses.iter().map(|ip| ip.to_string()).collect(),
        eni: l.eni.as_ref().map(ToString::to_string).unwrap_or_default(),
        strict: l.terms.strict,
        until_unix_millis: l.until.map(|until| until.0).unwrap_or_default(),
    }
}

fn address(ip: String, state: &AddressState, books: &Books, now: std::time::Duration) -> Address {
    let mut out = Address { ip, ..Address::default() };
    match state {
        AddressState::Free => out.state = "free".into(),
        AddressState::Assigned(key) => {
            out.state = "assigned".into();
            let owner = books.attachments.iter().find(|a| a.key == *key);
            out.pod = owner.map(|a| a.pod.key.to_string()).unwrap_or_default();
        }
        AddressState::Cooling { until, .. } => {
            out.state = "cooling".into();
            out.cooling_seconds =
                u32::try_from(until.saturating_sub(now).as_secs()).unwrap_or(u32::MAX);
        }
        AddressState::Leased => {
            out.state = "leased".into();
            let has = |l: &&LeaseBook| l.addresses.iter().any(|own| own.to_string() == out.ip);
            let owner = books.leases.iter().find(has);
            out.pod = owner.map(|l| l.pod.to_string()).unwrap_or_default();
        }
        AddressState::Releasing => out.state = "releasing".into(),
        AddressState::Lost => out.state = "lost".into(),
        AddressState::Reserved => out.state = "reserved".into(),
    }
    out
}

//! `--rebuild-journal`: what lives is told anew by those who know a part of it each: the runtime who has a sandbox, the kernel
//! which of them have our links and addresses, the cloud on which ENI an address is, the kubelet who holds a device.
//!
//! Rate limits are not told by anybody: a pod keeps those that the kernel has, but CHECK does not know them any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::{Context as _, bail};
use tideway_cloud::{Cloud, EniFilter, EniView};
use tideway_ipam::{CoolingRecord, EniRecord, Entry, Use};
use tideway_model::{
    Attachment, AttachmentKey, Bandwidth, Config, EniState, ExclusiveEni, IfName, InstanceId, Mode,
    PodAddresses, PodKey, SlotId, names,
};
use tideway_netlink::Datapath;
use tideway_nodeapi::{Runtime, Sandbox};

use crate::{facts::Facts, holders::Holders};

/// Where runtimes keep the namespaces of sandboxes.
const NAMESPACES: &str = "/run/netns";
/// The interface that every runtime of Kubernetes asks for.
const IFNAME: &str = "eth0";

/// Who can be asked.
#[derive(Debug)]
pub struct Sources<'a, C> {
    /// Cloud.
    pub cloud: &'a C,
    /// This instance.
    pub instance: &'a InstanceId,
    /// Kernel.
    pub datapath: &'a Datapath,
    /// Runtime, when there is one.
    pub runtime: Option<&'a Runtime>,
    /// Kubelet, when there is one.
    pub holders: Option<&'a Holders>,
    /// Facts of the node.
    pub facts: &'a Facts,
    /// Configuration.
    pub config: &'a Config,
}

impl<C: Cloud> Sources<'_, C> {
    /// Journal entries of all pods that live and of their ENIs.
    pub async fn living(&self) -> anyhow::Result<Vec<(String, Entry)>> {
        let view = self.datapath.observe().await.context("the kernel could not be read")?;
        let linked = view.links.keys().any(|link| link.as_str().starts_with(names::VETH_PREFIX));
        if !linked {
            return Ok(Vec::new());
        }
        let Some(runtime) = self.runtime else {
            bail!(
                "pods have links on this host, but without paths.runtimeSocket nobody tells whose they are; set it, or drain the node first"
            );
        };
        let sandboxes = runtime.sandboxes().await.context(
            "pods have links on this host, but the container runtime does not tell whose they are; start it first",
        )?;
        let filter = EniFilter { instance: Some(self.instance.clone()), ..EniFilter::default() };
        let enis =
            self.cloud.enis(&filter).await.context("the cloud does not tell the node's ENIs")?;
        let slots = match self.holders {
            Some(holders) => holders.held().await.map_err(anyhow::Error::msg)?,
            None => BTreeMap::new(),
        };
        let mut paths = namespaces();
        let mut living = Vec::new();
        for sandbox in sandboxes {
            for mode in [Mode::Veth, Mode::Exclusive] {
                let key = AttachmentKey {
                    container: sandbox.id.clone(),
                    ifname: IfName::try_from(IFNAME).context("interface name")?,
                };
                let link = Datapath::host_link_name(&key, mode);
                if !view.links.contains_key(&link) {
                    continue;
                }
                let own = view.routes.iter().filter(|r| r.link == link && r.via.is_none());
                let ips: Vec<IpAddr> = own.map(|r| r.dst.addr()).collect();
                let found = self.attachment(key, &sandbox, mode, &ips, &enis, &slots);
                let Some(mut attachment) = found else {
                    tracing::warn!(pod = %sandbox.pod.key, %link, "a pod's link has no address that the cloud knows; the link goes");
                    continue;
                };
                attachment.netns = self.namespace_of(&attachment, &mut paths).await;
                living.push(attachment);
            }
        }
        let mut entries = self.enis_of(&living, &enis);
        entries.extend(living.into_iter().map(|a| {
            let key = format!("attachment/{}/{}", a.key.container, a.key.ifname);
            (key, Entry::Attachment(Box::new(a)))
        }));
        Ok(entries)
    }

    /// The ENIs of living pods as the cloud shows them. Their other addresses may have been with a pod until now: they rest.
    /// ENIs without a pod are found by their tags later, like those of any lost record.
    fn enis_of(&self, living: &[Attachment], enis: &[EniView]) -> Vec<(String, Entry)> {
        let slots = self.facts.limits.slots();
        let offered = slots.saturating_sub(self.config.shared.min_enis);
        let exclusive: BTreeSet<SlotId> =
            living.iter().filter_map(|a| a.exclusive.as_ref().map(|x| x.slot)).collect();
        // Reserved slots first, then the devices from the end, as the allocator takes them.
        let mut shared_slots = (offered..slots)
            .chain((0..offered).rev())
            .map(SlotId)
            .filter(|slot| !exclusive.contains(slot));
        let held: BTreeSet<IpAddr> = living.iter().flat_map(|a| a.addresses.iter()).collect();
        let mut entries = Vec::new();
        for (number, view) in (1_u16..).zip(enis) {
            let Some(user) = living.iter().find(|a| a.eni == view.id) else { continue };
            let own = user.exclusive.as_ref().map(|x| x.slot);
            let Some(slot) = own.or_else(|| shared_slots.next()) else { continue };
            let record = EniRecord {
                number: number.into(),
                id: Some(view.id.clone()),
                mac: Some(view.mac),
                state: EniState::Attaching,
                attached: true,
                leaving: false,
                usage: own.map_or(Use::Shared, Use::Exclusive),
                slot,
                subnet: view.subnet.clone(),
                security_groups: view.security_groups.clone(),
                table_slot: if own.is_some() { 0 } else { number },
                planned: 0,
                primary: view.primary_ip,
                addresses: view.addresses.iter().copied().collect(),
                releasing: BTreeSet::new(),
                doubted: BTreeSet::new(),
            };
            entries.push((format!("eni/{number}"), Entry::Eni(Box::new(record))));
            if own.is_some() {
                continue;
            }
            for ip in view.addresses.iter().filter(|ip| !held.contains(ip)) {
                let rest = CoolingRecord { ip: *ip, eni: number.into() };
                entries.push((format!("cooling/{ip}"), Entry::Cooling(rest)));
            }
        }
        entries
    }

    fn attachment(
        &self,
        key: AttachmentKey,
        sandbox: &Sandbox,
        mode: Mode,
        ips: &[IpAddr],
        enis: &[EniView],
        slots: &BTreeMap<SlotId, PodKey>,
    ) -> Option<Attachment> {
        let first = ips.first()?;
        let eni = enis.iter().find(|eni| eni.addresses.contains(first))?;
        let exclusive = match mode {
            Mode::Veth => None,
            Mode::Exclusive => {
                let (slot, _pod) = slots.iter().find(|(_, pod)| **pod == sandbox.pod.key)?;
                let subnet = self.facts.subnet(&eni.subnet)?;
                let families = self.config.families.list();
                Some(ExclusiveEni {
                    slot: *slot,
                    blocks: families.iter().filter_map(|f| subnet.block(*f)).collect(),
                    gateways: families.iter().filter_map(|f| subnet.gateway(*f)).collect(),
                })
            }
        };
        Some(Attachment {
            key,
            pod: sandbox.pod.clone(),
            netns: String::new(),
            mode,
            eni: eni.id.clone(),
            eni_mac: eni.mac,
            addresses: PodAddresses::from_ips(ips.iter().copied()),
            mtu: self.config.pod.mtu,
            bandwidth: Bandwidth::default(),
            exclusive,
        })
    }

    /// The namespace in which everything is as this attachment wants it; empty when there is none.
    async fn namespace_of(&self, attachment: &Attachment, paths: &mut Vec<String>) -> String {
        for at in 0..paths.len() {
            let Some(path) = paths.get(at).cloned() else { break };
            let candidate = Attachment { netns: path, ..attachment.clone() };
            if self.datapath.check(&candidate).await.is_ok_and(|findings| findings.is_empty()) {
                paths.swap_remove(at);
                return candidate.netns;
            }
        }
        tracing::warn!(pod = %attachment.pod.key, "no namespace below {NAMESPACES} has this pod's interface");
        String::new()
    }
}

fn namespaces() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(NAMESPACES) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path().display().to_string()).collect()
}

//! `--rebuild-journal`: what lives is told anew by those who know a part of it each: the runtime who has a sandbox, the kernel
//! which of them have our links and addresses, the cloud on which ENI an address is, the kubelet who holds a device.
//!
//! Rate limits are not told by anybody: a pod keeps those that the kernel has, but CHECK does not know them any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tideway_cloud::{Cloud, CloudError, EniFilter, EniStatus, EniView};
use tideway_ipam::{CoolingRecord, EniRecord, Entry, Use};
use tideway_model::{
    Attachment, AttachmentKey, Bandwidth, Config, EniId, EniState, ExclusiveEni, IfName,
    InstanceId, Mode, PodAddresses, PodKey, SlotId, names,
};
use tideway_netlink::Datapath;
use tideway_nodeapi::{Runtime, Sandbox};

use crate::{assemble, facts::Facts, holders::Holders};

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
    /// Journal entries of all pods that live and of their ENIs. Waits until no call of a former run can take effect any more:
    /// nobody remembers which they were, and what is read before could still be taken away by them.
    pub async fn living(&self) -> anyhow::Result<Vec<(String, Entry)>> {
        let view = self.datapath.observe().await.context("the kernel could not be read")?;
        let linked = view.links.keys().any(|link| link.as_str().starts_with(names::VETH_PREFIX));
        if linked && self.runtime.is_none() {
            bail!(
                "pods have links on this host, but without paths.runtimeSocket nobody tells whose they are; set it, or drain the node first"
            );
        }
        let seconds = self.config.pool.late_effect_seconds;
        tracing::warn!(
            seconds,
            "rebuilding the journal; first waiting until calls of a former run cannot take effect any more"
        );
        tokio::time::sleep(Duration::from_secs(seconds.into())).await;
        let Some(runtime) = self.runtime.filter(|_| linked) else { return Ok(Vec::new()) };
        let mut sandboxes = runtime.sandboxes().await.context(
            "pods have links on this host, but the container runtime does not tell whose they are; start it first",
        )?;
        // Of two sandboxes of one pod the one that runs is asked first.
        sandboxes.sort_by_key(|sandbox| !sandbox.ready);
        let enis = self.enis().await.context("the cloud does not tell the node's ENIs")?;
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
        let living = one_each(living);
        let mut entries = self.enis_of(&living, &enis);
        entries.extend(living.into_iter().map(|a| {
            let key = format!("attachment/{}/{}", a.key.container, a.key.ifname);
            (key, Entry::Attachment(Box::new(a)))
        }));
        Ok(entries)
    }

    /// Our ENIs that are attached. The primary one and those of others are not ours to record, whoever uses them.
    async fn enis(&self) -> Result<Vec<EniView>, CloudError> {
        let filter = EniFilter {
            instance: Some(self.instance.clone()),
            tags: assemble::tags(self.config, self.instance),
            ..EniFilter::default()
        };
        let mut enis = self.cloud.enis(&filter).await?;
        enis.retain(|eni| eni.status == EniStatus::InUse);
        Ok(enis)
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

/// An ENI of its own carries one pod. Others with an address of it have lost theirs: somebody moved it in the cloud, or the
/// sandbox is an older one of the same pod. They are left out, and their links go.
fn one_each(living: Vec<Attachment>) -> Vec<Attachment> {
    let own = living.iter().filter(|a| a.exclusive.is_some()).map(|a| a.eni.clone());
    let alone: BTreeSet<EniId> = own.collect();
    let (mut enis, mut slots) = (BTreeSet::new(), BTreeSet::new());
    let fits = |a: &Attachment| match &a.exclusive {
        Some(x) if slots.contains(&x.slot) || enis.contains(&a.eni) => false,
        Some(x) => slots.insert(x.slot) && enis.insert(a.eni.clone()),
        None => !alone.contains(&a.eni),
    };
    let (kept, lost): (Vec<_>, Vec<_>) = living.into_iter().partition(fits);
    for a in lost {
        tracing::warn!(pod = %a.pod.key, eni = %a.eni, "another pod has this ENI for itself; delete the pod so that it gets another address");
    }
    kept
}

fn namespaces() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(NAMESPACES) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path().display().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plumbed::tests::pod;

    fn own(name: &str, slot: u16) -> Attachment {
        let exclusive =
            ExclusiveEni { slot: SlotId(slot), blocks: Vec::new(), gateways: Vec::new() };
        let shared = pod(name, [10, 0, 0, 9]);
        Attachment { mode: Mode::Exclusive, exclusive: Some(exclusive), ..shared }
    }

    fn names(living: Vec<Attachment>) -> Vec<String> {
        living.iter().map(|a| a.key.container.to_string()).collect()
    }

    #[test]
    fn two_pods_on_one_exclusive_eni_do_not_make_a_journal_that_no_start_accepts() {
        let shared = pod("moved", [10, 0, 0, 1]);
        let living = vec![shared.clone(), own("first", 0), own("second", 1)];
        assert_eq!(names(one_each(living)), ["first"]);
        // Two sandboxes of the pod that holds the device.
        let other = EniId::try_from("eni-2").unwrap();
        let older = Attachment { eni: other, ..own("older", 0) };
        assert_eq!(names(one_each(vec![own("newer", 0), older])), ["newer"]);
        assert_eq!(names(one_each(vec![shared.clone(), shared])).len(), 2);
    }
}

//! `--rebuild-journal`: what lives is told anew by those who know a part of it each: the runtime who has a sandbox, the kernel
//! which of them have our links and addresses, the cloud on which ENI an address is, the kubelet who holds a device.
//!
//! Rate limits are not told by anybody: a pod keeps those that the kernel has, but CHECK does not know them any more.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use anyhow::{Context as _, bail};
use tideway_cloud::{Cloud, CloudError, EniFilter, EniStatus, EniView};
use tideway_ipam::{Entry, rebuilt};
use tideway_model::{
    Attachment, AttachmentKey, Bandwidth, Config, ExclusiveEni, IfName, InstanceId, Mode,
    PodAddresses, PodKey, SlotId, names,
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
    pub async fn living(&self) -> anyhow::Result<Vec<Entry>> {
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
        let (living, lost) = rebuilt::one_each(living);
        for a in lost {
            tracing::warn!(pod = %a.pod.key, eni = %a.eni, "another pod has this ENI for itself; delete the pod so that it gets another address");
        }
        let slots = self.facts.limits.slots();
        Ok(rebuilt::entries(living, &enis, slots, self.config.shared.min_enis))
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

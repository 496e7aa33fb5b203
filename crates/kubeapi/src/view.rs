//! The pods of the node in our own words.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tideway_model::{PodKey, PodUid};

/// A pod that is bound to this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePod {
    /// Namespace and name.
    pub key: PodKey,
    /// UID. Two pods of one key may be listed at once: the old one that ends and the new one.
    pub uid: PodUid,
    /// Whole ENIs (`aliyun/eni`) that the pod asks for, by the scheduler's arithmetic over its containers.
    pub wants_eni: u32,
    /// The pod lives in the host's network namespace: the CNI plugin is never called for it.
    pub host_network: bool,
    /// Its containers ended for good (phase `Succeeded` or `Failed`).
    pub phase_ended: bool,
    /// Its deletion was asked for.
    pub deleting: bool,
    /// Addresses that the kubelet reported, none at first.
    pub ips: Vec<IpAddr>,
}

/// The pods of the node at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodsView {
    /// A whole list has been seen. It stays true when the API server goes away: then the view is old, and `error` says so.
    pub synced: bool,
    /// All pods of the node, by key.
    pub pods: Vec<NodePod>,
    /// Why the view may be old or incomplete; `None` while the watch works.
    pub error: Option<String>,
}

/// The pods as the events of a watch build them up.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pods: BTreeMap<(PodKey, PodUid), NodePod>,
    /// The list that is being received. Replaces `pods` when it is whole: a pod that is not in it is gone.
    incoming: Option<BTreeMap<(PodKey, PodUid), NodePod>>,
}

impl Books {
    pub(crate) fn begin_list(&mut self) {
        self.incoming = Some(BTreeMap::new());
    }

    pub(crate) fn listed(&mut self, pod: NodePod) {
        let incoming = self.incoming.get_or_insert_default();
        incoming.insert((pod.key.clone(), pod.uid.clone()), pod);
    }

    pub(crate) fn end_list(&mut self) {
        self.pods = self.incoming.take().unwrap_or_default();
    }

    pub(crate) fn changed(&mut self, pod: NodePod) {
        self.pods.insert((pod.key.clone(), pod.uid.clone()), pod);
    }

    pub(crate) fn deleted(&mut self, pod: &NodePod) {
        self.pods.remove(&(pod.key.clone(), pod.uid.clone()));
    }

    pub(crate) fn pods(&self) -> Vec<NodePod> {
        self.pods.values().cloned().collect()
    }
}

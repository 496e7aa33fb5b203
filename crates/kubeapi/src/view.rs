//! The pods of the node in our own words.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tideway_model::{InvalidId, PodKey, PodUid};

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

type Pods = BTreeMap<(PodKey, PodUid), NodePod>;
/// A pod of an event, if it can be read.
type Read = Result<NodePod, InvalidId>;

/// The pods as the events of one watch build them up.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pods: Pods,
    /// The list that is being received. Replaces `pods` when it is whole: a pod that is not in it is gone.
    incoming: Option<Pods>,
    /// The last pod of this watch that could not be read: the view is incomplete as long as the watch lasts.
    unreadable: Option<InvalidId>,
}

impl Books {
    pub(crate) fn begin_list(&mut self) {
        self.incoming = Some(Pods::new());
        self.unreadable = None;
    }

    pub(crate) fn listed(&mut self, pod: Read) {
        if let Some(pod) = self.readable(pod) {
            self.incoming.get_or_insert_default().insert((pod.key.clone(), pod.uid.clone()), pod);
        }
    }

    pub(crate) fn end_list(&mut self) {
        self.pods = self.incoming.take().unwrap_or_default();
    }

    pub(crate) fn changed(&mut self, pod: Read) {
        if let Some(pod) = self.readable(pod) {
            self.pods.insert((pod.key.clone(), pod.uid.clone()), pod);
        }
    }

    pub(crate) fn deleted(&mut self, pod: Read) {
        if let Some(pod) = self.readable(pod) {
            self.pods.remove(&(pod.key, pod.uid));
        }
    }

    /// What there is to see; `None` while a list is being received.
    pub(crate) fn view(&self) -> Option<PodsView> {
        self.incoming.is_none().then(|| PodsView {
            synced: true,
            pods: self.pods.values().cloned().collect(),
            error: self.unreadable.as_ref().map(|why| format!("a pod cannot be read: {why}")),
        })
    }

    fn readable(&mut self, pod: Read) -> Option<NodePod> {
        pod.map_err(|why| self.unreadable = Some(why)).ok()
    }
}

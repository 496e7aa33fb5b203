//! The pods of the node in our own words.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tideway_model::{InvalidId, PodKey, PodUid};

/// A pod that is bound to this node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states of one machine")]
pub struct NodePod {
    /// Namespace and name.
    pub key: PodKey,
    /// UID by which the runtime and the CNI plugin know it: a static pod's own, not that of its mirror in the API. Two pods of
    /// one key may be listed at once: the old one that ends and the new one.
    pub uid: PodUid,
    /// Whole ENIs (`aliyun/eni`) that the pod asks for, by the scheduler's arithmetic over its containers.
    pub wants_eni: u32,
    /// The pod lives in the host's network namespace: the CNI plugin is never called for it.
    pub host_network: bool,
    /// Its containers ended for good (phase `Succeeded` or `Failed`).
    pub phase_ended: bool,
    /// Its deletion was asked for.
    pub deleting: bool,
    /// Who makes it again, when it has such an owner.
    pub controller: Option<Controller>,
    /// Its annotations ask for its address to wait (`k8s.aliyun.com/pod-ip-reservation`).
    pub reserves: bool,
    /// Addresses that the kubelet reported, none at first.
    pub ips: Vec<IpAddr>,
}

/// The controller of a pod: its owner that makes another one when it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// API group, such as `apps`.
    pub group: String,
    /// Kind, such as `StatefulSet`.
    pub kind: String,
    /// Name, in the pod's namespace.
    pub name: String,
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
    /// `resourceVersion` up to which every change of the node's pods is in this view. It moves without waking anybody.
    pub version: Option<u64>,
    /// Version of the last change that ended a pod (deleted, or its phase ended), or of the last whole list, in which pods may
    /// be missing unseen.
    pub ended_at: Option<u64>,
    /// Version of the last change with which a pod first showed its addresses.
    pub addressed_at: Option<u64>,
}

impl PodsView {
    /// Whether a look at one tells nothing that a look at the other does not: all but [`PodsView::version`].
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let Self { synced, pods, error, version: _, ended_at, addressed_at } = self;
        *synced == other.synced
            && *ended_at == other.ended_at
            && *addressed_at == other.addressed_at
            && *error == other.error
            && *pods == other.pods
    }
}

type Pods = BTreeMap<(PodKey, PodUid), NodePod>;
/// A pod of an event, if it can be read.
type Read = Result<NodePod, InvalidId>;

/// The pods as the lists and events of one watch build them up.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pods: Pods,
    version: Option<u64>,
    ended_at: Option<u64>,
    addressed_at: Option<u64>,
    /// The change that is being taken in ended a pod.
    ended: bool,
    /// The change that is being taken in shows a pod's first addresses.
    addressed: bool,
    /// The last pod since the list that could not be read: the view is incomplete until the next one.
    unreadable: Option<InvalidId>,
}

impl Books {
    /// Replaces everything: a pod that is not in the list is gone.
    pub(crate) fn whole_list(&mut self, version: Option<u64>, pods: impl Iterator<Item = Read>) {
        self.unreadable = None;
        self.pods = Pods::new();
        for pod in pods {
            self.changed(pod);
        }
        // A list of a server that is behind may be older than what was seen before, and says so.
        self.ended = true;
        self.seen(version);
    }

    pub(crate) fn changed(&mut self, pod: Read) {
        let Some(pod) = self.readable(pod) else { return };
        let (ended, addressed) = (pod.phase_ended, !pod.host_network && !pod.ips.is_empty());
        let before = self.pods.insert((pod.key.clone(), pod.uid.clone()), pod);
        self.addressed |= addressed && before.as_ref().is_none_or(|b| b.ips.is_empty());
        if ended && before.is_none_or(|b| !b.phase_ended) {
            self.ended = true;
        }
    }

    pub(crate) fn deleted(&mut self, pod: Read) {
        if let Some(pod) = self.readable(pod) {
            self.pods.remove(&(pod.key, pod.uid));
        }
        self.ended = true;
    }

    /// Everything up to this version is in the books.
    pub(crate) fn seen(&mut self, version: Option<u64>) {
        self.version = version;
        if std::mem::take(&mut self.ended) {
            self.ended_at = version;
        }
        if std::mem::take(&mut self.addressed) {
            self.addressed_at = version;
        }
    }

    pub(crate) fn view(&self) -> PodsView {
        PodsView {
            synced: true,
            pods: self.pods.values().cloned().collect(),
            error: self.unreadable.as_ref().map(|why| format!("a pod cannot be read: {why}")),
            version: self.version,
            ended_at: self.ended_at,
            addressed_at: self.addressed_at,
        }
    }

    fn readable(&mut self, pod: Read) -> Option<NodePod> {
        pod.map_err(|why| self.unreadable = Some(why)).ok()
    }
}

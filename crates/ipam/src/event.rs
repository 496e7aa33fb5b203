//! What the allocator hears. Every event is a fact that the shell saw; the allocator never asks by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use tideway_cloud::{CloudError, EniView, OpAnswer};
use tideway_model::{
    AttachmentKey, Bandwidth, EniId, LeaseTerms, PodKey, PodRef, SlotId, SubnetId,
};

/// Names one waiting question of a caller (an ADD or a DEL), chosen by the shell, never reused within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names one intent (one cloud operation); chosen by the allocator, durable, never reused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct IntentId(pub u64);

/// An ADD that asks for addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddRequest {
    /// Who is answered.
    pub id: RequestId,
    /// Container and interface.
    pub key: AttachmentKey,
    /// The pod.
    pub pod: PodRef,
    /// Path of the pod's namespace.
    pub netns: String,
    /// Rate limits.
    pub bandwidth: Bandwidth,
    /// The pod's annotations ask for a lease of its address; nothing is known of its controller here.
    pub lease: Option<LeaseTerms>,
    /// The request is refused with its cause when `Now::boot` reaches this.
    pub deadline: Duration,
}

/// Where a look at live attachments came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The container runtime's list of sandboxes.
    Runtime,
    /// Links and namespaces in the kernel.
    Kernel,
}

/// A complete answer of one source about which attachments live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Source.
    pub source: Source,
    /// When the question was put (`Now::boot`): events after that are not contradicted by it.
    pub begun: Duration,
    /// The attachments that were asked about: what whoever asks knew when the question was put. An attachment is granted
    /// before the hands know of it, so their silence about any other proves nothing.
    pub asked: BTreeSet<AttachmentKey>,
    /// The attachments that live. For [`Source::Runtime`] the interface name is not known: all of a container's live.
    pub live: BTreeSet<AttachmentKey>,
}

/// A pod that the API server shows as bound to this node and not yet ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BoundPod {
    /// The pod, with its UID.
    pub pod: PodRef,
    /// It asks for `aliyun/eni`.
    pub wants_eni: bool,
    /// It uses the host's network and needs no address.
    pub host_network: bool,
    /// It has a stable identity.
    pub lease: Option<LeaseTerms>,
}

/// Everything that can happen to the allocator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Time passed; see [`crate::Ipam::next_deadline`].
    Tick,
    /// A pod wants addresses. Answered by exactly one [`crate::Command::Grant`] or [`crate::Command::Refuse`]. When its
    /// caller goes away, the runtime's DEL takes back what was promised.
    Add(AddRequest),
    /// A granted attachment could not be plumbed; its addresses cool, the reason was told to the caller.
    PlumbFailed {
        /// The attachment.
        key: AttachmentKey,
    },
    /// A DEL or a release ticket. Answered by exactly one [`crate::Command::Unplumb`] (known) or
    /// [`crate::Command::Unknown`] with the same id.
    Del {
        /// Who is answered.
        id: RequestId,
        /// Container and interface.
        key: AttachmentKey,
    },
    /// Nothing of these addresses' former owners is left: links gone from the kernel, conntrack flushed.
    Quiet {
        /// When the flush began (`Now::boot`): what was ordered later is not done by it.
        begun: Duration,
        /// Addresses named by a [`crate::Command::Quiesce`].
        addresses: Vec<IpAddr>,
    },
    /// A cloud operation ended. `Unknown` errors mean that its effect is not known.
    CloudDone {
        /// The intent that started it.
        intent: IntentId,
        /// Answer or error.
        result: Result<OpAnswer, CloudError>,
    },
    /// A shared ENI was found in the kernel by its MAC and prepared, or was not.
    EniPrepared {
        /// ENI.
        eni: EniId,
        /// Why not, for people.
        result: Result<(), String>,
    },
    /// The cloud (or the metadata service) told all our ENIs; `begun` as in [`Look`].
    CloudSeen {
        /// When the question was put.
        begun: Duration,
        /// All ENIs of this instance, the primary one included, and our detached ones.
        enis: Vec<EniView>,
    },
    /// The cloud told how many addresses each of our subnets can still give.
    Room(BTreeMap<SubnetId, u64>),
    /// A source told which attachments live.
    Seen(Look),
    /// The kubelet gave this device to some container.
    Allocated {
        /// Device.
        slot: SlotId,
    },
    /// The kubelet's pod-resources told who holds which device.
    DevicesSeen {
        /// When the question was put.
        begun: Duration,
        /// Holders.
        holders: BTreeMap<SlotId, PodKey>,
    },
    /// The kubelet restarted (a new `kubelet.sock`): what was known of devices must be asked again.
    KubeletRestarted,
    /// The API server told which pods are bound here: early demand and identities, never a right to a device.
    PodsBound(Vec<BoundPod>),
    /// The API server said twice that these pods do not come back: their leases end.
    OwnersGone(Vec<PodKey>),
    /// Give everything back that no pod uses (`tidewayd uninstall`).
    Uninstall,
}

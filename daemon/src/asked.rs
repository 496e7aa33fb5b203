//! What callers of the node's socket ask, in our words. Whoever may open the socket may send anything.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use tideway_ipam::{AddRequest, RequestId};
use tideway_model::{
    Attachment, AttachmentKey, Bandwidth, ContainerId, IfName, PodKey, PodRef, PodUid,
};
use tideway_proto::node as pb;

use crate::{fault::Fault, identity::Identities};

/// An ADD, which waits until `deadline` (boot time).
pub fn add(wire: pb::AddRequest, id: RequestId, deadline: Duration) -> Result<AddRequest, Fault> {
    let key = key(&wire.container_id, &wire.ifname)?;
    let pod = pod(wire.pod.unwrap_or_default())?;
    if wire.netns.is_empty() {
        return Err(Fault::environment(
            "CNI_NETNS is empty",
            "the runtime must pass the path of the pod's network namespace",
        ));
    }
    let bandwidth = wire.bandwidth.map_or_else(Bandwidth::default, |b| Bandwidth {
        ingress_rate: b.ingress_rate,
        ingress_burst: b.ingress_burst,
        egress_rate: b.egress_rate,
        egress_burst: b.egress_burst,
    });
    let lease = Identities::of_annotations(&wire.annotations);
    Ok(AddRequest { id, key, pod, netns: wire.netns, bandwidth, lease, deadline })
}

/// Whom a GC keeps.
pub fn valid(wire: &pb::GcRequest) -> Result<BTreeSet<AttachmentKey>, Fault> {
    wire.valid.iter().map(|a| key(&a.container_id, &a.ifname)).collect()
}

/// What the runtime's result says otherwise than the journal.
pub fn strangers(told: &[String], attachment: &Attachment) -> Option<String> {
    let ips = told.iter().filter_map(|cidr| cidr.split('/').next()?.parse::<IpAddr>().ok());
    let told: BTreeSet<IpAddr> = ips.collect();
    let ours: BTreeSet<IpAddr> = attachment.addresses.iter().collect();
    (!told.is_empty() && told != ours)
        .then(|| format!("prevResult has the addresses {told:?}, the pod was given {ours:?}"))
}

/// The attachment of a container's interface.
pub fn key(container: &str, ifname: &str) -> Result<AttachmentKey, Fault> {
    let container = ContainerId::try_from(container)
        .map_err(|e| Fault::environment("CNI_CONTAINERID is wrong", &e.to_string()))?;
    let ifname = IfName::try_from(ifname)
        .map_err(|e| Fault::environment("CNI_IFNAME is wrong", &e.to_string()))?;
    Ok(AttachmentKey { container, ifname })
}

fn pod(pod: pb::Pod) -> Result<PodRef, Fault> {
    let key = PodKey::new(&pod.namespace, &pod.name).map_err(|e| {
        Fault::environment("K8S_POD_NAMESPACE or K8S_POD_NAME is wrong", &e.to_string())
    })?;
    let uid = (!pod.uid.is_empty()).then(|| PodUid::try_from(pod.uid)).transpose();
    let uid = uid.map_err(|e| Fault::environment("K8S_POD_UID is wrong", &e.to_string()))?;
    Ok(PodRef { key, uid })
}

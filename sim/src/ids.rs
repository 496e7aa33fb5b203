//! Names of the model world. They are literals or numbers, so they are always valid.
#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "literals and numbers are valid identifiers"
)]

use std::net::IpAddr;

use ipnet::IpNet;
use tideway_model::{
    AttachmentKey, ContainerId, EniId, IfName, InstanceId, PodKey, PodRef, PodUid, SecurityGroupId,
    SubnetId,
};

/// The instance.
pub const INSTANCE: &str = "i-sim";

/// See [`INSTANCE`].
pub fn instance() -> InstanceId {
    INSTANCE.try_into().expect("literal")
}

/// An ENI.
pub fn eni(name: &str) -> EniId {
    name.try_into().expect("literal")
}

/// A subnet.
pub fn subnet(n: u8) -> SubnetId {
    format!("vsw-{n}").try_into().expect("number")
}

/// The security group.
pub fn security_group() -> SecurityGroupId {
    "sg-1".try_into().expect("literal")
}

/// The block of a prefix length that begins at `ip`.
pub fn block(ip: IpAddr, prefix: u8) -> Option<IpNet> {
    IpNet::new(ip, prefix).ok().map(|net| net.trunc())
}

/// A container.
pub fn container(n: u32) -> ContainerId {
    format!("c{n}").try_into().expect("number")
}

/// The attachment of a container.
pub fn key(container: &ContainerId) -> AttachmentKey {
    let ifname: IfName = "eth0".try_into().expect("literal");
    AttachmentKey { container: container.clone(), ifname }
}

/// A pod: several in turn have the same name.
pub fn pod(name: u32, uid: u32) -> PodRef {
    let key = PodKey::new("ns", &format!("pod-{name}")).expect("number");
    let uid: PodUid = format!("uid-{uid}").try_into().expect("number");
    PodRef { key, uid: Some(uid) }
}

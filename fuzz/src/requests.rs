//! What callers of the daemon's socket send.

use std::{net::IpAddr, time::Duration};

use prost::Message;
use tideway_ipam::{AddRequest, RequestId};
use tideway_model::{
    Attachment, AttachmentKey, Bandwidth, Mac, Mode, PodAddresses, PodKey, PodRef,
};
use tideway_proto::node as pb;
use tidewayd::{asked, fault::Fault};

/// One byte for the message, then the message.
pub(crate) fn wire(bytes: &[u8]) {
    let Some((kind, message)) = bytes.split_first() else { return };
    match kind % 7 {
        0 => told(message, |wire: pb::AddRequest| add(wire).map(drop)),
        1 => told(message, |wire: pb::DeleteRequest| {
            asked::key(&wire.container_id, &wire.ifname).map(drop)
        }),
        2 => told(message, |wire: pb::CheckRequest| {
            let key = asked::key(&wire.container_id, &wire.ifname)?;
            if let Some(text) = asked::strangers(&wire.ips, &attachment(key)) {
                assert!(text.contains("10.0.0.1"), "it says what the pod has: {text}");
            }
            Ok(())
        }),
        3 => told(message, |wire: pb::GcRequest| asked::valid(&wire).map(drop)),
        4 => drop(pb::StatusRequest::decode(message)),
        5 => drop(pb::ShowRequest::decode(message)),
        _ => drop(pb::ExplainRequest::decode(message)),
    }
}

/// An ADD as the daemon reads it.
pub(crate) fn add(wire: pb::AddRequest) -> Result<AddRequest, Fault> {
    asked::add(wire, RequestId(1), Duration::from_mins(1))
}

fn told<M: Message + Default>(bytes: &[u8], take: impl FnOnce(M) -> Result<(), Fault>) {
    let Ok(message) = M::decode(bytes) else { return };
    if let Err(fault) = take(message) {
        assert!(
            !fault.message.is_empty() && !fault.why.text.is_empty(),
            "cause and remedy: {fault}"
        );
        let status = tonic::Status::from(fault.clone());
        let told = pb::CniError::decode(status.details()).expect("the plugin can read a refusal");
        assert_eq!(told.code, fault.code(), "the runtime hears our code");
    }
}

fn attachment(key: AttachmentKey) -> Attachment {
    Attachment {
        key,
        pod: PodRef { key: PodKey::new("ns", "pod").expect("a name"), uid: None },
        netns: String::new(),
        mode: Mode::Veth,
        eni: "eni-1".try_into().expect("an identity"),
        eni_mac: Mac([2, 0, 0, 0, 0, 1]),
        addresses: PodAddresses::from_ips([IpAddr::from([10, 0, 0, 1])]),
        mtu: 1500,
        bandwidth: Bandwidth::default(),
        exclusive: None,
    }
}

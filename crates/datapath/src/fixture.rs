//! Values for tests of this crate.

use std::net::IpAddr;

use tideway_model::{
    Attachment, AttachmentKey, Bandwidth, ContainerId, EniId, ExclusiveEni, IfName, Mac, Mode,
    PodAddresses, PodKey, PodRef, SlotId, SubnetId, SubnetPlan,
};

use crate::{HostFacts, LinkFacts, SharedEniNet};

pub(crate) fn name(text: &str) -> IfName {
    IfName::try_from(text).unwrap()
}

pub(crate) fn facts() -> HostFacts {
    HostFacts {
        primary: LinkFacts {
            ifname: name("eth0"),
            mac: Mac([0, 0x16, 0x3e, 0, 0, 1]),
            ipv4: vec!["10.0.0.1".parse().unwrap()],
            ipv6: vec!["fd00:10::1".parse().unwrap()],
        },
        node_ips: vec!["10.0.0.1".parse().unwrap(), "fd00:10::1".parse().unwrap()],
        service_cidrs: vec!["172.21.0.0/20".parse().unwrap(), "fd00:172::/112".parse().unwrap()],
        host_stack_cidrs: vec![],
        vpc_blocks: vec!["10.0.0.0/16".parse().unwrap(), "fd00:10::/56".parse().unwrap()],
        external_snat: true,
    }
}

pub(crate) fn eni(slot: u16) -> SharedEniNet {
    SharedEniNet {
        id: EniId::try_from(format!("eni-{slot}")).unwrap(),
        mac: Mac([0, 0x16, 0x3e, 0, 1, u8::try_from(slot).unwrap()]),
        table_slot: slot,
        subnet: SubnetPlan {
            id: SubnetId::try_from("vsw-1").unwrap(),
            ipv4: Some("10.0.0.0/24".parse().unwrap()),
            ipv6: Some("fd00:10::/64".parse().unwrap()),
            gateway_v4: Some("10.0.0.253".parse().unwrap()),
            gateway_v6: Some("fd00:10::fd".parse().unwrap()),
        },
        addresses: vec![],
    }
}

/// An attachment whose identity and addresses follow from a number.
pub(crate) fn attachment(
    number: u8,
    mode: Mode,
    families: (bool, bool),
    bandwidth: Bandwidth,
) -> Attachment {
    let v4 = families.0.then(|| IpAddr::from([10, 0, 0, number]));
    let v6 = families.1.then(|| format!("fd00:10::{number:x}").parse().unwrap());
    Attachment {
        key: AttachmentKey {
            container: ContainerId::try_from(format!("c{number}")).unwrap(),
            ifname: name("eth0"),
        },
        pod: PodRef { key: PodKey::new("default", &format!("p{number}")).unwrap(), uid: None },
        netns: format!("/run/netns/p{number}"),
        mode,
        eni: EniId::try_from("eni-1").unwrap(),
        eni_mac: Mac([0, 0x16, 0x3e, 0, 2, number]),
        addresses: PodAddresses::from_ips(v4.into_iter().chain(v6)),
        mtu: 1500,
        bandwidth,
        exclusive: (mode == Mode::Exclusive).then(|| ExclusiveEni {
            slot: SlotId(0),
            blocks: vec!["10.0.0.0/24".parse().unwrap(), "fd00:10::/64".parse().unwrap()],
            gateways: vec!["10.0.0.253".parse().unwrap(), "fd00:10::fd".parse().unwrap()],
        }),
    }
}

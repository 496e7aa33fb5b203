//! Nodes, pods and settings of the tests.

use std::{collections::BTreeMap, time::Duration};

use tideway_model::{
    AttachmentKey, Families, Limits, PodKey, PodRef, SubnetPlan,
    names::{TAG_CLUSTER, TAG_NODE},
};

use crate::{NodeFacts, Settings};

pub(super) fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

pub(super) fn settings() -> Settings {
    Settings {
        low: 2,
        high: 6,
        cooldown: secs(30),
        settle: secs(30),
        late_effect: secs(60),
        min_shared: 1,
        max_shared: None,
        use_primary_address: true,
        create_secondary_max: 49,
        lease_ttl: secs(86_400),
        lease_max: None,
        assign_batch: 10,
        prefixes: false,
    }
}

pub(super) fn subnet(n: u8) -> SubnetPlan {
    SubnetPlan {
        id: format!("vsw-{n}").try_into().unwrap(),
        ipv4: Some(format!("10.{n}.0.0/16").parse().unwrap()),
        ipv6: Some("2001:db8::/64".parse().unwrap()),
        gateway_v4: Some(format!("10.{n}.255.253").parse().unwrap()),
        gateway_v6: Some("2001:db8::1".parse().unwrap()),
    }
}

pub(super) fn facts(enis: u16, per_eni: u16, families: Families) -> NodeFacts {
    NodeFacts {
        instance: "i-1".try_into().unwrap(),
        limits: Limits {
            enis,
            ipv4_per_eni: per_eni,
            ipv6_per_eni: per_eni,
            trunk: false,
            members: 0,
        },
        families,
        subnets: vec![subnet(1)],
        former_subnets: Vec::new(),
        security_groups: vec!["sg-1".try_into().unwrap()],
        tags: BTreeMap::from([
            (TAG_CLUSTER.to_owned(), "c1".to_owned()),
            (TAG_NODE.to_owned(), "i-1".to_owned()),
        ]),
        primary_eni: "eni-primary".try_into().unwrap(),
        mtu: 1500,
    }
}

pub(super) fn pod(name: &str, uid: &str) -> PodRef {
    let uid = Some(uid.try_into().unwrap());
    PodRef { key: PodKey::new("ns", name).unwrap(), uid }
}

pub(super) fn key(container: &str) -> AttachmentKey {
    AttachmentKey { container: container.try_into().unwrap(), ifname: "eth0".try_into().unwrap() }
}

//! The small world and what may be told of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use tideway_cloud::{CloudError, CloudOp, EniStatus, EniView, ErrorKind, OpAnswer};
use tideway_ipam::{
    AddRequest, BoundPod, Event, IntentId, Look, NodeFacts, RequestId, Settings, Source,
};
use tideway_model::{
    AttachmentKey, Bandwidth, EniId, Families, LeaseTerms, Limits, Mac, Now, PodKey, PodRef,
    SlotId, SubnetPlan,
    names::{TAG_CLUSTER, TAG_INTENT, TAG_NODE},
};

use super::Dice;

pub(super) const PRIMARY: &str = "eni-primary";

pub(super) fn settings() -> Settings {
    let seconds = Duration::from_secs;
    Settings {
        low: 1,
        high: 3,
        cooldown: seconds(30),
        settle: seconds(30),
        late_effect: seconds(60),
        min_shared: 1,
        max_shared: None,
        use_primary_address: true,
        create_secondary_max: 49,
        lease_ttl: seconds(3600),
        lease_max: None,
        assign_batch: 10,
        prefixes: false,
    }
}

pub(super) fn node() -> NodeFacts {
    NodeFacts {
        instance: instance(),
        limits: Limits { enis: 4, ipv4_per_eni: 4, ipv6_per_eni: 4, trunk: false, members: 0 },
        families: Families::V4,
        subnets: vec![SubnetPlan {
            id: "vsw-1".try_into().expect("an identity"),
            ipv4: Some("10.0.0.0/16".parse().expect("a block")),
            ipv6: None,
            gateway_v4: Some("10.0.255.253".parse().expect("an address")),
            gateway_v6: None,
        }],
        former_subnets: Vec::new(),
        security_groups: vec!["sg-1".try_into().expect("an identity")],
        tags: tags(),
        primary_eni: PRIMARY.try_into().expect("an identity"),
        mtu: 1500,
    }
}

pub(super) fn instance() -> tideway_model::InstanceId {
    "i-1".try_into().expect("an identity")
}

fn tags() -> BTreeMap<String, String> {
    BTreeMap::from([
        (TAG_CLUSTER.to_owned(), "c1".to_owned()),
        (TAG_NODE.to_owned(), "i-1".to_owned()),
    ])
}

/// Six of their own and two of the [`prefix`].
pub(super) fn addresses() -> [IpAddr; 8] {
    std::array::from_fn(|n| {
        let last = u8::try_from(n + 1).unwrap_or_default();
        IpAddr::from(if last > 6 { [10, 0, 0, last] } else { [10, 0, 1, last] })
    })
}

pub(super) fn number(dice: &mut Dice<'_>) -> u8 {
    dice.roll(4) + 1
}

pub(super) fn eni_id(number: u8) -> EniId {
    format!("eni-{number}").try_into().expect("an identity")
}

pub(super) fn mac(number: u8) -> Mac {
    Mac([2, 0, 0, 0, 1, number])
}

pub(super) fn slot(dice: &mut Dice<'_>) -> SlotId {
    SlotId(dice.roll(4).into())
}

pub(super) fn key(dice: &mut Dice<'_>) -> AttachmentKey {
    AttachmentKey {
        container: format!("c{}", dice.roll(4)).try_into().expect("an identity"),
        ifname: "eth0".try_into().expect("a name"),
    }
}

pub(super) fn pod(dice: &mut Dice<'_>) -> PodRef {
    let number = dice.roll(4);
    let uid = format!("u{number}").try_into().expect("an identity");
    PodRef {
        key: PodKey::new("ns", &format!("p{number}")).expect("a name"),
        uid: (!dice.rarely()).then_some(uid),
    }
}

/// A prefix that an ENI may have.
pub(super) fn prefix() -> ipnet::IpNet {
    "10.0.0.0/28".parse().expect("a block")
}

/// An ENI as the cloud may show it.
fn view(dice: &mut Dice<'_>, number: u8, token: Option<&str>) -> EniView {
    let all = addresses();
    let status = dice.of(&[EniStatus::InUse, EniStatus::Available, EniStatus::Detaching]);
    let shown = dice.some(&all);
    let mut tags = if dice.rarely() { BTreeMap::new() } else { tags() };
    tags.extend(token.map(|token| (TAG_INTENT.to_owned(), token.to_owned())));
    let id = if dice.rarely() { PRIMARY.try_into().expect("an identity") } else { eni_id(number) };
    EniView {
        id,
        mac: mac(number),
        status,
        primary: false,
        instance: (status != EniStatus::Available).then(instance),
        subnet: "vsw-1".try_into().expect("an identity"),
        security_groups: vec!["sg-1".try_into().expect("an identity")],
        primary_ip: shown.first().copied(),
        addresses: shown,
        prefixes: dice.rarely().then(prefix).into_iter().collect(),
        tags,
        created: None,
    }
}

/// How a call may end.
pub(super) fn answer(dice: &mut Dice<'_>, intent: IntentId, op: &CloudOp) -> Event {
    let kinds = [
        ErrorKind::Unknown,
        ErrorKind::Throttled { retry_after: None },
        ErrorKind::SubnetFull,
        ErrorKind::Fragmented,
        ErrorKind::NotFound,
        ErrorKind::Conflict,
        ErrorKind::Unavailable,
    ];
    let fails = dice.roll(4) == 3;
    let result = match op {
        _ if fails => Err(CloudError {
            action: "Call".into(),
            kind: dice.of(&kinds),
            code: "Code".into(),
            message: String::new(),
            request_id: None,
        }),
        CloudOp::Create(create) => {
            let number = number(dice);
            Ok(OpAnswer::Created(view(dice, number, Some(&create.token))))
        }
        CloudOp::Assign { .. } => Ok(OpAnswer::Assigned(dice.some(&addresses()))),
        CloudOp::AssignPrefixes { .. } => Ok(OpAnswer::AssignedPrefixes(vec![prefix()])),
        CloudOp::Attach { .. }
        | CloudOp::Detach { .. }
        | CloudOp::Delete { .. }
        | CloudOp::Unassign { .. }
        | CloudOp::UnassignPrefixes { .. }
        | CloudOp::Describe { .. } => Ok(OpAnswer::Done),
    };
    Event::CloudDone { intent, result }
}

/// Something that may be told.
pub(super) fn event(dice: &mut Dice<'_>, now: Now, next: u64) -> Option<Event> {
    let t = now.boot;
    let begun = t.saturating_sub(Duration::from_secs(dice.of(&[0, 0, 1, 40])));
    Some(match dice.roll(16) {
        0 => Event::Tick,
        1 | 2 => Event::Add(AddRequest {
            id: RequestId(next),
            key: key(dice),
            pod: pod(dice),
            netns: "/run/netns/p".into(),
            bandwidth: Bandwidth::default(),
            lease: dice.flip().then(LeaseTerms::default),
            deadline: t + Duration::from_mins(1),
        }),
        3 => Event::Del { id: RequestId(next), key: key(dice) },
        4 => Event::PlumbFailed { key: key(dice) },
        5 | 6 => {
            let result = if dice.rarely() { Err("the link is not there".into()) } else { Ok(()) };
            Event::EniPrepared { eni: eni_id(number(dice)), result }
        }
        7 => Event::Quiet { begun, addresses: dice.some(&addresses()) },
        8 | 9 => {
            let numbers = dice.some(&[1, 2, 3, 4]);
            let enis = numbers.into_iter().map(|number| view(dice, number, None)).collect();
            Event::CloudSeen { begun, enis }
        }
        10 => {
            let source = dice.of(&[Source::Runtime, Source::Kernel]);
            let live: BTreeSet<_> = (0..dice.roll(3)).map(|_| key(dice)).collect();
            let asked = (0..dice.roll(3)).map(|_| key(dice)).collect();
            Event::Seen(Look { source, begun, asked, live })
        }
        11 => Event::Allocated { slot: slot(dice) },
        12 | 13 => {
            let holders = (0..dice.roll(3)).map(|_| (slot(dice), pod(dice).key)).collect();
            Event::DevicesSeen { begun, holders }
        }
        14 => {
            let pods = (0..dice.roll(3)).map(|_| BoundPod {
                pod: pod(dice),
                wants_eni: dice.flip(),
                host_network: dice.flip(),
                lease: dice.flip().then(LeaseTerms::default),
            });
            Event::PodsBound(pods.collect())
        }
        _ => match dice.roll(4) {
            0 => Event::KubeletRestarted,
            1 => Event::OwnersGone(vec![pod(dice).key]),
            2 if dice.rarely() => Event::Uninstall,
            _ => return None,
        },
    })
}

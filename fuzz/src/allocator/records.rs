//! Entries of the small world. Most fit, since what does not is refused at once and shows little.

use std::net::IpAddr;

use tideway_cloud::{CloudOp, CreateEni};
use tideway_ipam::{
    CoolingRecord, EniRecord, Entry, IntentId, LeaseRecord, Use,
    record::{Counters, DeviceRecord, IntentRecord},
};
use tideway_model::{
    Attachment, Bandwidth, EniState, ExclusiveEni, Family, LeaseTerms, Mode, PodAddresses,
    UnixMillis,
};

use super::{
    Dice,
    facts::{PRIMARY, addresses, eni_id, instance, key, mac, number, pod, prefix, slot},
};

/// One entry.
pub(crate) fn entry(dice: &mut Dice<'_>) -> Entry {
    match dice.roll(10) {
        0..=3 => Entry::Eni(Box::new(eni(dice))),
        4 | 5 => Entry::Attachment(Box::new(attachment(dice))),
        6 => Entry::Intent(Box::new(intent(dice))),
        7 => Entry::Device(DeviceRecord { slot: slot(dice), pod: pod(dice), used: dice.flip() }),
        8 => {
            let eni = number(dice).into();
            Entry::Cooling(CoolingRecord { ip: dice.of(&addresses()), eni })
        }
        _ => match dice.roll(3) {
            0 => Entry::Counters(Counters {
                intent: dice.of(&[1, 9, u64::MAX]),
                eni: dice.of(&[1, 9, u32::MAX]),
            }),
            _ => Entry::Lease(Box::new(LeaseRecord {
                pod: pod(dice).key,
                eni: number(dice).into(),
                addresses: of_a_pod(dice),
                terms: LeaseTerms { strict: dice.flip(), ..LeaseTerms::default() },
                until: dice.flip().then_some(UnixMillis(1_800_000_100_000)),
            })),
        },
    }
}

fn of_a_pod(dice: &mut Dice<'_>) -> PodAddresses {
    let v4 = (!dice.rarely()).then(|| dice.of(&addresses()));
    PodAddresses::from_ips(v4)
}

fn eni(dice: &mut Dice<'_>) -> EniRecord {
    let number = number(dice);
    let states = [
        EniState::Ready,
        EniState::Ready,
        EniState::Attaching,
        EniState::Creating,
        EniState::Draining,
        EniState::Detaching,
        EniState::Deleting,
        EniState::Failed("why".into()),
    ];
    let state = dice.of(&states);
    let known = (state != EniState::Creating) != dice.rarely();
    let going = !matches!(state, EniState::Ready | EniState::Attaching | EniState::Creating);
    let slot = slot(dice);
    let usage = if dice.flip() { Use::Exclusive(slot) } else { Use::Shared };
    let all: Vec<IpAddr> = if known { dice.some(&addresses()) } else { Vec::new() };
    let other =
        if dice.rarely() { PRIMARY.try_into().expect("an identity") } else { eni_id(number) };
    EniRecord {
        number: if dice.rarely() { u32::MAX } else { number.into() },
        id: known.then_some(other),
        mac: (known != dice.rarely()).then(|| mac(number)),
        leaving: going != dice.rarely(),
        state,
        attached: !dice.rarely(),
        usage,
        slot: if dice.rarely() { tideway_model::SlotId(7) } else { slot },
        subnet: if dice.rarely() { "vsw-2" } else { "vsw-1" }.try_into().expect("an identity"),
        security_groups: Vec::new(),
        table_slot: if dice.rarely() { 0 } else { number.into() },
        planned: dice.roll(4).into(),
        primary: all.first().copied(),
        releasing: if dice.rarely() { dice.some(&all) } else { Vec::new() }.into_iter().collect(),
        doubted: if dice.rarely() { dice.some(&all) } else { Vec::new() }.into_iter().collect(),
        addresses: all.into_iter().collect(),
        prefixes: dice.rarely().then(prefix).into_iter().collect(),
        adopted: dice.rarely(),
    }
}

fn attachment(dice: &mut Dice<'_>) -> Attachment {
    let number = number(dice);
    let own = dice.flip();
    let exclusive = (own != dice.rarely()).then(|| ExclusiveEni {
        slot: slot(dice),
        blocks: Vec::new(),
        gateways: Vec::new(),
    });
    Attachment {
        key: key(dice),
        pod: pod(dice),
        netns: "/run/netns/p".into(),
        mode: if own { Mode::Exclusive } else { Mode::Veth },
        eni: if dice.rarely() { PRIMARY.try_into().expect("an identity") } else { eni_id(number) },
        eni_mac: mac(number),
        addresses: of_a_pod(dice),
        mtu: 1500,
        bandwidth: Bandwidth::default(),
        exclusive,
    }
}

fn intent(dice: &mut Dice<'_>) -> IntentRecord {
    let number = number(dice);
    let eni = eni_id(if dice.rarely() { 3 } else { number });
    let op = match dice.roll(9) {
        0 => CloudOp::Create(CreateEni {
            subnet: "vsw-1".try_into().expect("an identity"),
            security_groups: Vec::new(),
            secondary_v4: 1,
            prefixes_v4: 0,
            prefixes_v6: 0,
            v6: 0,
            tags: std::collections::BTreeMap::new(),
            token: "t".into(),
        }),
        1 => CloudOp::Attach { eni, instance: instance() },
        2 => CloudOp::Detach { eni, instance: instance() },
        3 => CloudOp::Delete { eni },
        4 => CloudOp::Assign { eni, family: Family::V4, count: 2, token: "t".into() },
        5 => CloudOp::Unassign { eni, addresses: dice.some(&addresses()) },
        6 => CloudOp::AssignPrefixes { eni, family: Family::V4, count: 1, token: "t".into() },
        7 => CloudOp::UnassignPrefixes { eni, prefixes: vec![prefix()] },
        _ => CloudOp::Describe { instance: instance(), tags: std::collections::BTreeMap::new() },
    };
    IntentRecord {
        id: IntentId(if dice.rarely() { u64::MAX } else { dice.roll(3).into() }),
        op,
        eni: number.into(),
        before: dice.some(&addresses()).into_iter().collect(),
        sent: UnixMillis(1_799_999_000_000),
    }
}

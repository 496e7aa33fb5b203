//! Journals that no step of ours wrote: refused with a cause and the remedy, before anything acts on them.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use tideway_cloud::{CloudOp, EniStatus, OpAnswer};
use tideway_model::{
    Attachment, Bandwidth, EniId, EniState, ExclusiveEni, Families, LeaseTerms, Mac, Mode, Now,
    PodAddresses, PodKey, SlotId,
};

use super::simulated::{assign, ip, record, view};
use super::world::{facts, key, pod, secs, settings};
use crate::{
    CoolingRecord, Effects, EniRecord, Entry, IntentId, Ipam, LeaseRecord, NodeFacts, Use,
    prefixes::{block, hosts},
    record::{Counters, IntentRecord},
};

pub(super) fn eni(r: EniRecord) -> Entry {
    Entry::Eni(Box::new(r))
}

pub(super) fn intent(r: IntentRecord) -> Entry {
    Entry::Intent(Box::new(r))
}

/// A pod with one address of a shared ENI.
pub(super) fn shared_pod(number: u32, address: u8) -> Attachment {
    Attachment {
        key: key("c1"),
        pod: pod("a", "u1"),
        netns: "/run/netns/a".into(),
        mode: Mode::Veth,
        eni: format!("eni-{number}").try_into().unwrap(),
        eni_mac: Mac([2, 0, 0, 0, 1, 1]),
        addresses: PodAddresses::from_ips([ip(address)]),
        mtu: 1500,
        bandwidth: Bandwidth::default(),
        exclusive: None,
    }
}

pub(super) fn own_eni_pod(number: u32, address: u8, slot: u16) -> Attachment {
    let exclusive =
        Some(ExclusiveEni { slot: SlotId(slot), blocks: Vec::new(), gateways: Vec::new() });
    Attachment { mode: Mode::Exclusive, exclusive, ..shared_pod(number, address) }
}

pub(super) fn own_eni(number: u32, address: u8, slot: u16) -> EniRecord {
    EniRecord {
        usage: Use::Exclusive(SlotId(slot)),
        slot: SlotId(slot),
        table_slot: 0,
        primary: Some(ip(address)),
        ..record(number, &[address])
    }
}

pub(super) fn attachment(a: Attachment) -> Entry {
    Entry::Attachment(Box::new(a))
}

pub(super) fn keyed(entries: impl IntoIterator<Item = Entry>) -> Vec<(String, Entry)> {
    entries.into_iter().map(|entry| (entry.key(), entry)).collect()
}

pub(super) fn restored(facts: NodeFacts, entries: Vec<(String, Entry)>) -> Result<Ipam, String> {
    Ipam::restore(settings(), facts, 1, entries).map_err(|error| error.to_string())
}

fn refusal(entries: impl IntoIterator<Item = Entry>) -> String {
    restored(facts(4, 5, Families::V4), keyed(entries)).expect_err("no step of ours wrote that")
}

/// The journal is refused for this, and the text says what to do.
fn refused(entries: impl IntoIterator<Item = Entry>, cause: &str) {
    let text = refusal(entries);
    assert!(text.contains(cause) && text.contains("--rebuild-journal"), "{text}");
}

#[test]
fn sound_books_are_not_taken_for_damaged_ones() {
    let entries = keyed([
        eni(record(1, &[1, 2, 3])),
        eni(own_eni(2, 4, 0)),
        attachment(shared_pod(1, 1)),
        attachment(Attachment { key: key("c2"), ..own_eni_pod(2, 4, 0) }),
        Entry::Cooling(CoolingRecord { ip: ip(2), eni: 1 }),
        intent(assign(1)),
        Entry::Counters(Counters { intent: 10, eni: 3 }),
    ]);
    restored(facts(4, 5, Families::V4), entries).expect("whole books");
}

#[test]
fn a_creation_answered_with_an_eni_of_the_books_does_not_put_it_there_twice() {
    let mut ipam =
        restored(facts(4, 5, Families::V4), keyed([eni(record(1, &[1]))])).expect("whole books");
    let planned = ipam.plan_eni(Use::Shared, SlotId(2), 1);
    let primary: EniId = "eni-primary".try_into().unwrap();
    let create = IntentRecord { eni: planned, ..assign(planned) };
    let op = tideway_cloud::CreateEni {
        subnet: "vsw-1".try_into().unwrap(),
        security_groups: Vec::new(),
        secondary_v4: 0,
        prefixes_v4: 0,
        prefixes_v6: 0,
        v6: 0,
        tags: std::collections::BTreeMap::new(),
        token: "t".into(),
    };
    let create = IntentRecord { op: CloudOp::Create(op), ..create };
    for id in [record(1, &[]).id.unwrap(), primary] {
        let old = tideway_cloud::EniView { id, ..view(&[1, 2], EniStatus::Available) };
        let mut out = Effects::default();
        ipam.succeeded(secs(1), &create, OpAnswer::Created(old), &mut out);
        ipam.check().expect("an ENI stands in the books once");
        assert_eq!(ipam.enis[&planned].state, EniState::Creating, "it is asked for anew");
        assert!(ipam.create_hold.holds(secs(1)), "and not at once");
    }
}

#[test]
fn an_open_detach_of_an_eni_in_use_is_refused() {
    let id: EniId = "eni-1".try_into().unwrap();
    let detach = CloudOp::Detach { eni: id.clone(), instance: "i-1".try_into().unwrap() };
    for op in [detach, CloudOp::Delete { eni: id }] {
        let open = intent(IntentRecord { op, ..assign(1) });
        refused([eni(record(1, &[1])), attachment(shared_pod(1, 1)), open], "does not fit");
    }
    // The same without a call: it would be sent at once.
    let going = EniRecord { state: EniState::Detaching, leaving: true, ..record(1, &[1]) };
    let detached = EniRecord { attached: false, leaving: true, ..record(1, &[1]) };
    for lost in [going, detached] {
        refused([eni(lost), attachment(shared_pod(1, 1))], "being given back");
    }
}

#[test]
fn an_eni_that_goes_without_leaving_is_refused() {
    // It would be deleted while its device still stands before it.
    let going = EniRecord { state: EniState::Deleting, ..own_eni(1, 1, 0) };
    refused([eni(going)], "is not leaving");
}

#[test]
fn numbers_at_their_end_are_refused() {
    for counters in [Counters { intent: 1, eni: u32::MAX }, Counters { intent: u64::MAX, eni: 1 }] {
        refused([Entry::Counters(counters)], "no node reaches");
    }
    let last = EniRecord { number: u32::MAX, table_slot: 1, ..record(1, &[1]) };
    refused([eni(last)], "no node reaches");
    let last = IntentRecord { id: IntentId(u64::MAX), ..assign(1) };
    refused([eni(record(1, &[1])), intent(last)], "no node reaches");
}

#[test]
fn a_shared_eni_without_a_table_slot_is_refused() {
    for table_slot in [0, 251] {
        refused([eni(EniRecord { table_slot, ..record(1, &[1]) })], "table slot");
    }
}

#[test]
fn a_promise_without_an_eni_or_an_address_is_refused() {
    let nowhere = NodeFacts { subnets: Vec::new(), ..facts(4, 5, Families::V4) };
    let text = restored(nowhere, keyed([attachment(shared_pod(1, 1))])).expect_err("no ENI");
    assert!(text.contains("is not there"), "{text}");
    // Nothing would say that its ENI is in use.
    let none = PodAddresses { v4: None, v6: None };
    let empty = Attachment { addresses: none, ..shared_pod(1, 1) };
    refused([eni(record(1, &[1])), attachment(empty)], "no address");
}

#[test]
fn the_primary_eni_never_comes_into_the_books() {
    let primary: EniId = "eni-primary".try_into().unwrap();
    refused([eni(EniRecord { id: Some(primary.clone()), ..record(1, &[1]) })], "primary");
    refused([attachment(Attachment { eni: primary, ..shared_pod(1, 1) })], "primary");
}

#[test]
fn an_eni_waits_for_no_call_that_is_not_in_the_journal() {
    // Two entries of one number: the end of one would leave the other's ENI waiting for ever.
    let twice = vec![
        ("eni/1".to_owned(), eni(record(1, &[1]))),
        ("eni/2".to_owned(), eni(record(2, &[2]))),
        ("intent/8".to_owned(), intent(assign(1))),
        ("intent/9".to_owned(), intent(assign(2))),
    ];
    let text = restored(facts(4, 5, Families::V4), twice).expect_err("two of one number");
    assert!(text.contains("belongs to intent/9"), "{text}");
    let second = IntentRecord { id: IntentId(10), ..assign(1) };
    refused([eni(record(1, &[1])), intent(assign(1)), intent(second)], "another call in work");
    // A call for another ENI than that which waits.
    let strange = IntentRecord { eni: 1, ..assign(2) };
    refused([eni(record(1, &[1])), intent(strange)], "does not fit");
}

#[test]
fn a_number_that_an_open_call_names_is_not_given_to_another_eni() {
    let mut ipam =
        restored(facts(4, 5, Families::V4), keyed([intent(assign(7))])).expect("whole books");
    assert_eq!(ipam.plan_eni(Use::Shared, SlotId(2), 1), 8);
}

#[test]
fn an_address_that_two_enis_show_is_written_down_for_one() {
    let entries =
        keyed([eni(record(1, &[1])), eni(record(2, &[1, 2])), attachment(shared_pod(1, 1))]);
    let mut ipam = restored(facts(4, 5, Families::V4), entries).expect("the pod's word counts");
    let mut out = Effects::default();
    ipam.start(Now::default(), &mut out);
    let written = out.records.iter().find(|r| r.key == "eni/2").and_then(|r| r.value.clone());
    let Some(Entry::Eni(second)) = written else { panic!("{:?}", out.records) };
    assert_eq!(second.addresses, [ip(2)].into());
}

#[test]
fn an_eni_without_the_identity_that_its_state_promises_is_refused() {
    refused([eni(EniRecord { state: EniState::Creating, ..record(1, &[1]) })], "identity");
    refused([eni(EniRecord { id: None, mac: None, ..record(1, &[]) })], "identity");
    refused([eni(EniRecord { mac: None, ..record(1, &[1]) })], "MAC");
}

#[test]
fn a_lease_of_a_pods_own_eni_is_refused() {
    let lease = LeaseRecord {
        pod: PodKey::new("ns", "a").unwrap(),
        eni: 1,
        addresses: PodAddresses::from_ips([ip(1)]),
        terms: LeaseTerms::default(),
        until: None,
    };
    let pod = attachment(own_eni_pod(1, 1, 0));
    refused([eni(own_eni(1, 1, 0)), pod, Entry::Lease(Box::new(lease))], "a pod's own");
}

#[test]
fn a_device_and_an_eni_that_disagree_are_refused() {
    refused([eni(own_eni(1, 1, 0)), eni(own_eni(2, 2, 0))], "stands behind slot-0 too");
    refused([eni(own_eni(1, 1, 0)), attachment(own_eni_pod(1, 1, 2))], "disagree on the device");
    refused([eni(record(1, &[1])), attachment(own_eni_pod(1, 1, 2))], "disagree on the device");
    let confused = Attachment { exclusive: None, ..own_eni_pod(1, 1, 0) };
    refused([eni(own_eni(1, 1, 0)), attachment(confused)], "its mode and its device");
}

#[test]
fn a_prefix_that_is_given_back_although_something_of_its_block_stays_is_refused() {
    let prefix = block(ip(1));
    let back = |prefixes: &[IpNet]| {
        let eni = record(1, &[]).id.unwrap();
        let op = CloudOp::UnassignPrefixes { eni, prefixes: prefixes.to_vec() };
        intent(IntentRecord { op, ..assign(1) })
    };
    let whole: BTreeSet<IpAddr> = hosts(&prefix).collect();
    let leaving = EniRecord {
        addresses: whole.clone(),
        releasing: whole,
        prefixes: [prefix].into(),
        ..record(1, &[])
    };
    let entries = keyed([eni(leaving.clone()), back(&[prefix])]);
    restored(facts(4, 5, Families::V4), entries).expect("whole books");

    // The cloud gave it to another ENI before the answer came.
    let entries = keyed([eni(record(1, &[])), back(&[prefix])]);
    restored(facts(4, 5, Families::V4), entries).expect("whole books");

    let why = "something stays";
    let mut stays = leaving.clone();
    stays.releasing.remove(&ip(1));
    refused([eni(stays), back(&[prefix])], why);
    refused([eni(EniRecord { prefixes: [].into(), ..leaving }), back(&[prefix])], why);
}

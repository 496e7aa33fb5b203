//! Defects that the simulator found, each as the shortest story that shows it.

use std::{collections::BTreeMap, net::IpAddr};

use tideway_cloud::{CloudOp, EniStatus, EniView, OpAnswer};
use tideway_model::{EniState, Families, Family, SlotId, UnixMillis};

use super::cloud::Fate;
use super::world::{World, facts, key, pod, secs, settings};
use crate::{
    AddressState, Command, CoolingRecord, Effects, EniRecord, Entry, Event, IntentId, Ipam,
    Settings, Use, prefixes::block, record::IntentRecord,
};

pub(super) fn ip(n: u8) -> IpAddr {
    IpAddr::from([10, 1, 0, n])
}

pub(super) fn record(number: u32, addresses: &[u8]) -> EniRecord {
    EniRecord {
        number,
        id: Some(format!("eni-{number}").try_into().unwrap()),
        mac: Some(tideway_model::Mac([2, 0, 0, 0, 1, u8::try_from(number).unwrap()])),
        state: EniState::Ready,
        attached: true,
        leaving: false,
        usage: Use::Shared,
        slot: SlotId(u16::try_from(number).unwrap()),
        subnet: "vsw-1".try_into().unwrap(),
        security_groups: vec!["sg-1".try_into().unwrap()],
        table_slot: u16::try_from(number).unwrap(),
        planned: 0,
        primary: None,
        addresses: addresses.iter().map(|n| ip(*n)).collect(),
        releasing: std::collections::BTreeSet::new(),
        doubted: std::collections::BTreeSet::new(),
        adopted: false,
        prefixes: std::collections::BTreeSet::new(),
    }
}

/// What the cloud shows of the first ENI.
pub(super) fn view(addresses: &[u8], status: EniStatus) -> EniView {
    let facts = facts(3, 2, Families::V4);
    EniView {
        id: "eni-1".try_into().unwrap(),
        mac: tideway_model::Mac([2, 0, 0, 0, 1, 1]),
        status,
        primary: false,
        instance: (status == EniStatus::InUse).then_some(facts.instance),
        subnet: "vsw-1".try_into().unwrap(),
        security_groups: facts.security_groups,
        primary_ip: Some(ip(1)),
        addresses: addresses.iter().map(|n| ip(*n)).collect(),
        prefixes: Vec::new(),
        tags: facts.tags,
        created: None,
    }
}

pub(super) fn assign(number: u32) -> IntentRecord {
    IntentRecord {
        id: IntentId(9),
        op: CloudOp::Assign {
            eni: format!("eni-{number}").try_into().unwrap(),
            family: Family::V4,
            count: 1,
            token: "t".into(),
        },
        eni: number,
        before: std::collections::BTreeSet::new(),
        sent: UnixMillis(0),
    }
}

fn state_of(ipam: &Ipam, number: usize, address: IpAddr) -> Option<AddressState> {
    let books = ipam.books(tideway_model::Now::default());
    let found = books.enis.get(number)?.addresses.iter().find(|(own, _)| *own == address)?;
    Some(found.1.clone())
}

#[test]
fn a_smaller_instance_type_does_not_keep_the_daemon_from_starting() {
    // Two ENIs are attached and a third Attach is open when the machine comes back as a type with room for two.
    let mut third = record(3, &[5]);
    third.state = EniState::Attaching;
    third.attached = false;
    let attach = IntentRecord {
        op: CloudOp::Attach {
            eni: "eni-3".try_into().unwrap(),
            instance: "i-1".try_into().unwrap(),
        },
        ..assign(3)
    };
    let entries = vec![
        ("eni/1".to_owned(), Entry::Eni(Box::new(record(1, &[1, 2])))),
        ("eni/2".to_owned(), Entry::Eni(Box::new(record(2, &[3, 4])))),
        ("eni/3".to_owned(), Entry::Eni(Box::new(third))),
        ("intent/9".to_owned(), Entry::Intent(Box::new(attach))),
    ];
    Ipam::restore(settings(), facts(3, 2, Families::V4), 1, entries).expect("the daemon starts");
}

#[test]
fn the_end_of_a_pod_whose_eni_was_taken_away_frees_its_device() {
    let mut w = World::small();
    w.settle();
    w.see_devices();
    let p = pod("x", "u1");
    w.admit(0, &p);
    w.add("c1", &p);
    w.settle();
    let mine = w.ipam.attachments().next().unwrap().eni.clone();
    w.taken.insert(mine.to_string());
    let view = w.cloud.enis.get_mut(&mine).unwrap();
    view.status = EniStatus::Available;
    view.instance = None;
    w.pass(secs(200));
    // The slot has another ENI by now; the pod ends.
    w.kubelet.clear();
    w.del("c1");
    w.pass(secs(300));
    w.see_devices();
    w.pass(secs(200));
    let books = w.ipam.books(w.now);
    let kept = books.enis.iter().find(|e| matches!(e.usage, Use::Exclusive(_)));
    assert!(kept.is_none(), "nobody holds a device: {kept:?}");
}

#[test]
fn an_address_that_the_cloud_moved_to_another_eni_of_ours_belongs_there() {
    let mut leaving = record(1, &[1, 2]);
    leaving.releasing.insert(ip(2));
    let entries = vec![
        ("eni/1".to_owned(), Entry::Eni(Box::new(leaving))),
        ("eni/2".to_owned(), Entry::Eni(Box::new(record(2, &[3])))),
    ];
    let mut ipam =
        Ipam::restore(settings(), facts(4, 5, Families::V4), 1, entries).expect("whole books");
    let mut out = Effects::default();
    ipam.succeeded(secs(1), &assign(2), OpAnswer::Assigned(vec![ip(2)]), &mut out);
    assert_eq!(state_of(&ipam, 0, ip(2)), None);
    assert_eq!(state_of(&ipam, 1, ip(2)), Some(AddressState::Free));
}

#[test]
fn an_address_that_the_cloud_moved_is_taken_from_the_eni_that_had_it_and_from_no_other() {
    let entries = vec![
        ("eni/1".to_owned(), Entry::Eni(Box::new(record(1, &[1])))),
        ("eni/2".to_owned(), Entry::Eni(Box::new(record(2, &[2])))),
        ("eni/3".to_owned(), Entry::Eni(Box::new(record(3, &[3])))),
    ];
    let mut ipam =
        Ipam::restore(settings(), facts(4, 5, Families::V4), 1, entries).expect("whole books");
    let mut out = Effects::default();
    ipam.succeeded(secs(1), &assign(3), OpAnswer::Assigned(vec![ip(2)]), &mut out);
    ipam.check().expect("no address is on two ENIs");
    assert_eq!(state_of(&ipam, 1, ip(2)), None);
    assert_eq!(state_of(&ipam, 2, ip(2)), Some(AddressState::Free));
}

#[test]
fn a_rest_goes_along_when_the_cloud_moves_an_address_to_another_eni_of_ours() {
    let entries = vec![
        ("eni/1".to_owned(), Entry::Eni(Box::new(record(1, &[1, 2])))),
        ("eni/2".to_owned(), Entry::Eni(Box::new(record(2, &[3])))),
        ("cooling/10.1.0.2".to_owned(), Entry::Cooling(CoolingRecord { ip: ip(2), eni: 1 })),
    ];
    let mut ipam =
        Ipam::restore(settings(), facts(4, 5, Families::V4), 1, entries).expect("whole books");
    let mut out = Effects::default();
    ipam.succeeded(secs(1), &assign(2), OpAnswer::Assigned(vec![ip(2)]), &mut out);
    assert!(matches!(state_of(&ipam, 1, ip(2)), Some(AddressState::Cooling { .. })));
}

#[test]
fn a_device_that_only_an_attachment_told_of_is_written_down() {
    let mut w = World::small();
    w.settle();
    w.see_devices();
    let p = pod("x", "u1");
    w.admit(0, &p);
    w.add("c1", &p);
    w.settle();
    // As --rebuild-journal leaves it: attachments and ENIs.
    w.journal.retain(|k, _v| k.starts_with("attachment/") || k.starts_with("eni/"));
    w.crash();
    assert!(w.journal.contains_key("device/0"), "{:?}", w.journal.keys());
}

#[test]
fn an_old_picture_after_a_restart_does_not_pass_for_the_effect_of_an_open_assign() {
    let mut w = World::with(settings(), facts(2, 30, Families::V4));
    w.settle();
    w.come(0..14);
    w.settle();
    w.go(0..14);
    w.settle();
    let full = w.cloud.views();
    while w.calls("Unassign") == 0 {
        w.pass(secs(5));
    }
    w.settle();
    let left: Vec<IpAddr> = w.cloud.views().iter().flat_map(|v| v.addresses.clone()).collect();
    w.crash();
    w.settle();
    // More is asked for, the answer is lost with the daemon, and the first look shows the past.
    w.hold_cloud = true;
    w.come(20..29);
    w.settle();
    assert!(w.flying.iter().any(|(_, op)| matches!(op, CloudOp::Assign { .. })));
    w.crash_fate = 2;
    w.crash();
    w.advance(secs(1));
    w.step(Event::CloudSeen { begun: w.now.boot, enis: full });
    let books = w.ipam.books(w.now);
    for (own, state) in books.enis.iter().flat_map(|e| &e.addresses) {
        let gone = !left.contains(own);
        assert!(!gone || *state != AddressState::Free, "{own} was given back and is {state:?}");
    }
}

#[test]
fn a_look_from_before_an_assign_does_not_end_it() {
    let mut w = World::with(settings(), facts(2, 30, Families::V4));
    w.settle();
    w.advance(secs(5));
    let begun = w.now.boot;
    w.advance(secs(1));
    w.fates = vec![Fate::LostCall];
    w.come(0..6);
    w.hold_cloud = true;
    while !w.flying.is_empty() {
        w.answer_cloud(0);
        if w.calls("Assign") == 0 {
            break;
        }
    }
    // Somebody else's addresses are in the old picture.
    let mut enis = w.cloud.views();
    let eni = enis.iter_mut().find(|v| !v.primary).unwrap();
    eni.addresses.extend((200..220).map(|n| IpAddr::from([10, 9, 9, n])));
    let open = w.journal.keys().filter(|k| k.starts_with("intent/")).count();
    assert_eq!(open, 1);
    w.step(Event::CloudSeen { begun, enis });
    let open = w.journal.keys().filter(|k| k.starts_with("intent/")).count();
    assert_eq!(open, 1, "the outcome of the Assign is still open");
}

#[test]
fn a_shared_eni_that_waits_for_a_slot_which_never_comes_is_given_back() {
    let mut w = World::with(settings(), facts(2, 8, Families::V4));
    w.settle();
    // A second one of ours turns up, detached and known to the books as on its way.
    let mut waiting = record(7, &[100, 101, 102, 103, 104, 105, 106]);
    waiting.state = EniState::Attaching;
    waiting.attached = false;
    let view = w.cloud.enis.values().find(|v| !v.primary).unwrap().clone();
    let twin = EniView {
        id: waiting.id.clone().unwrap(),
        mac: waiting.mac.unwrap(),
        status: EniStatus::Available,
        instance: None,
        addresses: waiting.addresses.iter().copied().collect(),
        prefixes: Vec::new(),
        tags: BTreeMap::from_iter(w.facts.tags.clone()),
        ..view
    };
    w.cloud.enis.insert(twin.id.clone(), twin);
    let entry = Entry::Eni(Box::new(waiting));
    w.journal.insert("eni/7".into(), serde_json::to_vec(&entry).unwrap());
    w.crash();
    w.come(0..6);
    w.pass(secs(300));
    let books = w.ipam.books(w.now);
    assert_eq!(books.enis.len(), 1, "{:?}", books.enis);
    assert_eq!(books.enis[0].table_slot, 1, "not the one that was attached");
    assert!(books.free >= 2, "the pool grows on the ENI that is attached: {}", books.free);
}

#[test]
fn a_detached_eni_of_an_unknown_past_rests_before_it_is_deleted() {
    let mut w = World::small();
    w.settle();
    let view = w.cloud.enis.values().find(|v| !v.primary).unwrap().clone();
    let orphan = EniView {
        id: "eni-orphan".try_into().unwrap(),
        mac: tideway_model::Mac([2, 0, 0, 0, 9, 9]),
        status: EniStatus::Available,
        instance: None,
        addresses: vec![ip(77)],
        prefixes: Vec::new(),
        tags: w.facts.tags.clone(),
        ..view
    };
    w.cloud.enis.insert(orphan.id.clone(), orphan);
    w.see_cloud();
    w.pass(secs(25));
    assert_eq!(w.calls("Delete"), 0, "its addresses may have had a pod until now");
    w.pass(secs(20));
    assert_eq!(w.calls("Delete"), 1);
}

#[test]
fn after_a_kubelet_restart_a_former_owner_does_not_take_the_next_pods_allocation() {
    let mut w = World::small();
    w.settle();
    w.see_devices();
    let (former, next) = (pod("x", "u1"), pod("y", "u2"));
    w.admit(0, &former);
    w.hold_cloud = true;
    w.add("c1", &former);
    w.settle();
    // The pod goes, the kubelet restarts and gives the device to another one; the former one's ADD still waits.
    w.kubelet.clear();
    w.advance(secs(1));
    w.step(Event::KubeletRestarted);
    let empty = w.now.boot;
    w.advance(secs(1));
    w.admit(0, &next);
    w.hold_cloud = false;
    while !w.flying.is_empty() {
        w.answer_cloud(0);
    }
    // A list from before the allocation arrives.
    w.step(Event::DevicesSeen { begun: empty, holders: BTreeMap::new() });
    let id = w.next_id();
    let event = w.add_event(id, "c2", &next);
    w.step(event);
    let shared = w.ipam.attachments().find(|a| a.key == key("c2") && a.exclusive.is_none());
    assert!(shared.is_none(), "a pod that holds a device got a shared address");
}

#[test]
fn what_an_open_unassign_names_is_not_adopted_as_a_strangers() {
    let prefix = block(ip(32));
    let of = || "eni-1".try_into().unwrap();
    let single = CloudOp::Unassign { eni: of(), addresses: vec![ip(2)] };
    // Of the prefix the books have nothing any more: another ENI had it meanwhile.
    let whole = CloudOp::UnassignPrefixes { eni: of(), prefixes: vec![prefix] };
    for (op, addresses, prefixes) in
        [(single, vec![ip(1), ip(2)], vec![]), (whole, vec![ip(1)], vec![prefix])]
    {
        let entries = vec![
            ("eni/1".to_owned(), Entry::Eni(Box::new(record(1, &[1])))),
            ("intent/9".to_owned(), Entry::Intent(Box::new(IntentRecord { op, ..assign(1) }))),
        ];
        let late = settings().late_effect;
        let mut ipam =
            Ipam::restore(settings(), facts(4, 5, Families::V4), 1, entries).expect("whole books");
        let mut w = World::small();
        w.settle();
        let mut view = w.cloud.enis.values().find(|v| !v.primary).unwrap().clone();
        (view.id, view.addresses, view.prefixes) = (of(), addresses, prefixes);
        let mut out = Effects::default();
        let at = |s: u64| tideway_model::Now { boot: secs(s), wall: UnixMillis(s * 1000) };
        ipam.start(at(0), &mut out);
        for s in [1, 1 + late.as_secs() - 10, 2 + late.as_secs()] {
            let seen = Event::CloudSeen { begun: secs(s), enis: vec![view.clone()] };
            ipam.step(at(s), seen, &mut out);
            ipam.check().expect("whole books");
        }
    }
}

#[test]
fn an_uninstall_does_not_wait_for_old_pictures_of_a_detach_in_flight() {
    let mut going = record(1, &[1]);
    going.state = EniState::Detaching;
    going.leaving = true;
    let eni: tideway_model::EniId = "eni-1".try_into().unwrap();
    let detach = IntentRecord {
        op: CloudOp::Detach { eni: eni.clone(), instance: "i-1".try_into().unwrap() },
        ..assign(1)
    };
    let entries = vec![
        ("eni/1".to_owned(), Entry::Eni(Box::new(going))),
        ("intent/9".to_owned(), Entry::Intent(Box::new(detach))),
    ];
    let facts = facts(3, 2, Families::V4);
    let view = view(&[1], EniStatus::Available);
    let mut ipam = Ipam::restore(settings(), facts, 1, entries).expect("whole books");
    let mut out = Effects::default();
    let now = |s| tideway_model::Now { boot: secs(s), wall: UnixMillis(0) };
    ipam.start(now(0), &mut out);
    ipam.step(now(1), Event::Uninstall, &mut out);
    let seen = Event::CloudSeen { begun: secs(1), enis: vec![view] };
    ipam.step(now(2), seen, &mut out);
    let deletes = |c: &Command| matches!(c, Command::Cloud { op: CloudOp::Delete { eni: it }, .. } if *it == eni);
    assert!(out.commands.iter().any(deletes), "{:?}", out.commands);
}

#[test]
fn an_address_that_the_cloud_did_not_show_stays_doubted_over_a_restart() {
    let mut w = World::small();
    w.settle();
    w.pass(secs(70));
    let view = w.cloud.enis.values_mut().find(|v| !v.primary).unwrap();
    let lost = view.addresses.pop().unwrap();
    w.see_cloud();
    w.crash();
    // The host knows its addresses at once, the cloud is silent.
    while !w.prepare.is_empty() {
        w.answer_prepare(0);
    }
    w.come(0..6);
    let given = |w: &World| w.ipam.attachments().any(|a| a.addresses.iter().any(|ip| ip == lost));
    assert!(!given(&w), "{lost} is handed out and the cloud does not have it");
    // Looks that come early decide nothing, and are not asked for without end.
    let asked = w.commands.iter().filter(|c| matches!(c, Command::LookAtCloud)).count();
    w.pass(secs(100));
    let looks = w.commands.iter().filter(|c| matches!(c, Command::LookAtCloud)).count() - asked;
    assert!(looks < 10, "{looks} looks");
    assert!(!given(&w));
    let books = w.ipam.books(w.now);
    assert!(books.enis.iter().all(|e| e.addresses.iter().all(|(ip, _)| *ip != lost)));
}

#[test]
fn an_assign_does_not_take_addresses_that_were_seen_before_it_for_its_effect() {
    // An earlier Assign was given addresses that had just been given back; its looks could not tell them from old pictures.
    let entries = vec![("eni/1".to_owned(), Entry::Eni(Box::new(record(1, &[1]))))];
    let mut ipam =
        Ipam::restore(settings(), facts(3, 5, Families::V4), 1, entries).expect("whole books");
    let mut out = Effects::default();
    let now = |s| tideway_model::Now { boot: secs(s), wall: UnixMillis(0) };
    ipam.start(now(0), &mut out);
    let eni = "eni-1".try_into().unwrap();
    ipam.step(now(1), Event::EniPrepared { eni, result: Ok(()) }, &mut out);
    let enis = vec![view(&[1, 2], EniStatus::InUse)];
    ipam.step(now(2), Event::CloudSeen { begun: secs(1), enis }, &mut out);
    let intent = ipam.intents.values().find(|i| matches!(i.record.op, CloudOp::Assign { .. }));
    let before = &intent.expect("the pool is low").record.before;
    assert!(before.contains(&ip(2)), "{before:?}");
}

#[test]
fn an_address_that_was_a_strangers_at_first_takes_one_place_of_the_limit_and_not_two() {
    let mut w = World::with(Settings { low: 4, ..settings() }, facts(2, 4, Families::V4));
    let before = [ip(1)].into();
    let entries = [
        Entry::Eni(Box::new(record(1, &[1]))),
        Entry::Intent(Box::new(IntentRecord { before, ..assign(1) })),
    ];
    w.journal = entries.map(|e| (e.key(), serde_json::to_vec(&e).unwrap())).into();
    let shown = view(&[1, 200], EniStatus::InUse);
    w.cloud.enis.insert(shown.id.clone(), shown);
    w.crash();
    // The first look may be older than the restart, so that it does not tell whose the address is.
    w.pass(secs(200));
    let books = w.ipam.books(w.now);
    assert_eq!(books.enis[0].addresses.len(), 4, "the pool wants them all: {:?}", books.enis);
}

#[test]
fn an_eni_is_not_detached_while_a_picture_from_before_its_attach_may_pass_for_the_end_of_the_detach()
 {
    let mut w = World::small();
    w.settle();
    let p = pod("x", "ux");
    w.admit(0, &p);
    w.settle();
    w.kubelet.clear();
    // The kubelet no longer knows the pod: its ENI has nobody to wait for, seconds after it was attached.
    w.see_devices();
    w.pass(secs(31));
    w.see_devices();
    let going = |w: &World| w.ipam.books(w.now).enis.iter().any(|e| e.state == EniState::Detaching);
    assert!(going(&w), "{:?}", w.ipam.books(w.now).enis);
    assert_eq!(w.calls("Detach"), 0);
    w.pass(settings().late_effect);
    assert_eq!((w.calls("Detach"), going(&w)), (1, false));
}

/// Seed 20001237: the ENI is detached, a look shows it so, and then it is deleted while pods hold on to it.
#[test]
fn an_eni_that_others_detached_does_not_come_back_to_the_books_with_a_picture_of_it() {
    let mut w = World::small();
    w.settle();
    w.come(0..2);
    w.pass(secs(70));
    let mine = w.ipam.attachments().next().unwrap().eni.clone();
    w.taken.insert(mine.to_string());
    let view = w.cloud.enis.get_mut(&mine).unwrap();
    view.status = EniStatus::Available;
    view.instance = None;
    w.see_cloud();
    w.pass(secs(200));
    let of = |w: &World| {
        let books = w.ipam.books(w.now);
        books.enis.iter().find(|e| e.id.as_ref() == Some(&mine)).map(|e| e.addresses.clone())
    };
    let lost = |w: &World| of(w).unwrap().iter().all(|(_, state)| *state == AddressState::Lost);
    w.see_cloud();
    assert!(lost(&w), "{:?}", of(&w));
    w.crash();
    w.pass(secs(200));
    assert!(lost(&w), "a restart makes no difference: {:?}", of(&w));
    w.cloud.enis.remove(&mine);
    w.go(0..1);
    w.pass(secs(200));
    assert_eq!(of(&w).unwrap().len(), 1, "nobody can have what the pod left behind: {:?}", of(&w));
    w.go(1..2);
    w.pass(secs(200));
    assert_eq!(of(&w), None);
}

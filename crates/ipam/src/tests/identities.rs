//! Leases that are told late, that run out, and that yield: to whom, and to nobody else.

use tideway_cloud::ErrorKind;
use tideway_model::Families;

use super::{
    cloud::Fate,
    leases::{db, loose, strict, tight, warm},
    world::{World, facts, key, pod, secs, settings},
};
use crate::{BoundPod, Effects, Event, Settings};

#[test]
fn an_identity_that_is_told_later_has_its_own_address_and_not_that_of_the_last_pod() {
    let mut w = World::small();
    w.settle();
    let p = db(0, "u1");
    let first = w.run("c1", &p);
    w.pass(secs(1));
    w.run("c2", &pod("other", "u9"));
    let bound = BoundPod { pod: p, wants_eni: false, host_network: false, lease: Some(loose()) };
    w.step(Event::PodsBound(vec![bound]));
    assert_eq!(w.ipam.books(w.now).leases[0].addresses, first);
}

#[test]
fn a_former_container_that_still_runs_keeps_the_lease_of_its_identity() {
    let mut w = warm();
    let first = w.run("c1", &db(0, "u1"));
    w.run("c2", &db(0, "u1"));
    w.step(Event::PlumbFailed { key: key("c2") });
    assert_eq!(w.ipam.books(w.now).leases[0].addresses, first);
    w.del("c1");
    w.pass(secs(40));
    w.run("c3", &pod("other", "u9"));
    assert_eq!(w.run("c4", &db(0, "u1")), first);
}

#[test]
fn half_of_the_addresses_may_wait_when_nobody_says_otherwise() {
    let s = Settings { low: 0, high: 0, max_shared: Some(1), ..settings() };
    let mut w = World::with(s, facts(3, 10, Families::V4));
    w.settle();
    w.identities(8, &loose());
    w.run_and_end(8);
    assert_eq!(w.leases().len(), 5);
}

#[test]
fn what_is_told_again_writes_nothing_and_what_is_told_anew_counts() {
    let mut w = World::small();
    w.settle();
    let p = db(0, "u1");
    w.run("c1", &p);
    let told = |w: &mut World, lease| {
        let lease = Some(lease);
        let bound = BoundPod { pod: p.clone(), wants_eni: false, host_network: false, lease };
        let mut out = Effects::default();
        w.ipam.step(w.now, Event::PodsBound(vec![bound]), &mut out);
        (out.records.len(), w.ipam.books(w.now).leases[0].terms.strict)
    };
    assert_eq!(told(&mut w, loose()), (1, false));
    assert_eq!(told(&mut w, loose()), (0, false));
    assert_eq!(told(&mut w, strict()), (1, true));
    assert_eq!(told(&mut w, strict()), (0, true));
}

#[test]
fn no_lease_yields_to_a_pod_that_waits_for_its_own_eni_or_its_own_address() {
    let s = Settings { low: 0, high: 0, max_shared: Some(1), lease_max: Some(4), ..settings() };
    let mut w = World::with(s, facts(3, 4, Families::V4));
    w.settle();
    w.identities(4, &loose());
    w.run_and_end(4);
    w.pass(secs(40));
    assert_eq!(w.leases().len(), 4);
    w.run("c4", &db(0, "u2"));
    w.del("c4");
    w.add("c5", &db(0, "u2"));
    w.hold_cloud = true;
    let p = pod("x", "ux");
    w.admit(0, &p);
    let id = w.add("c6", &p);
    assert!(w.waits(id));
    assert_eq!(w.leases().len(), 4);
}

#[test]
fn a_lease_yields_when_the_eni_has_room_and_the_cloud_does_not_fill_it() {
    for fate in [
        Fate::Refused(ErrorKind::Unavailable),
        Fate::Refused(ErrorKind::SubnetFull),
        Fate::LostCall,
    ] {
        let s = Settings { low: 0, high: 0, max_shared: Some(1), lease_max: Some(4), ..settings() };
        let mut w = World::with(s, facts(2, 10, Families::V4));
        w.settle();
        w.identities(2, &loose());
        w.run_and_end(2);
        w.pass(secs(100));
        assert_eq!(w.ipam.books(w.now).free, 0);
        w.fates = vec![fate.clone(); 50];
        let id = w.add("c5", &pod("other", "u9"));
        assert!(w.waits(id), "the cloud may give more");
        w.settle();
        assert!(!w.waits(id), "{fate:?}");
    }
}

#[test]
fn no_lease_yields_while_the_eni_has_room_beyond_the_call_in_work() {
    let s = Settings { low: 0, high: 0, assign_batch: 2, max_shared: Some(1), ..settings() };
    let mut w = World::with(s, facts(2, 30, Families::V4));
    w.settle();
    w.identities(3, &loose());
    w.run_and_end(3);
    w.pass(secs(100));
    w.hold_cloud = true;
    for n in 0..6 {
        w.add(&format!("d{n}"), &pod(&format!("other-{n}"), "u9"));
    }
    assert_eq!((w.leases().len(), w.flying.len()), (3, 1));
}

#[test]
fn the_end_of_a_lease_and_of_a_rest_that_its_pod_waits_for_are_deadlines() {
    let s = Settings { lease_ttl: secs(50), ..settings() };
    let mut w = World::with(s, facts(3, 10, Families::V4));
    w.settle();
    w.pass(secs(900));
    w.identities(1, &loose());
    w.run("c1", &db(0, "u1"));
    w.del("c1");
    let due = |w: &World| w.ipam.next_deadline().map(|d| d.saturating_sub(w.now.boot));
    assert_eq!(due(&w), Some(secs(50)), "nobody has reported the flush yet");
    w.add("c2", &db(0, "u2"));
    assert_eq!(due(&w), Some(secs(30)));
}

#[test]
fn an_address_that_waits_for_another_identity_by_now_is_not_leased_to_its_former_one() {
    let mut w = tight(&loose());
    let first = w.run("c1", &db(0, "u1"));
    w.run("c2", &db(0, "u1"));
    w.del("c1");
    w.pass(secs(60));
    let others = [w.run("c3", &db(1, "u1")), w.run("c4", &db(2, "u1")), w.run("c5", &db(3, "u1"))];
    assert!(others.contains(&first));
    w.go(3..6);
    w.step(Event::PlumbFailed { key: key("c2") });
    let leases = w.ipam.books(w.now).leases;
    assert_eq!(leases.iter().filter(|l| l.addresses == first).count(), 1, "{leases:?}");
}

/// That the cloud gives no ENI at the moment says nothing of addresses.
#[test]
fn no_lease_yields_while_addresses_come_although_no_eni_does() {
    let s = Settings { low: 0, high: 0, max_shared: Some(1), ..settings() };
    let mut w = World::with(s, facts(3, 30, Families::V4));
    w.settle();
    w.identities(3, &loose());
    w.run_and_end(3);
    w.pass(secs(100));
    w.fates = vec![Fate::Refused(ErrorKind::Unavailable)];
    w.admit(0, &pod("x", "ux"));
    w.answer_cloud(0);
    w.hold_cloud = true;
    w.add("c9", &pod("other", "u9"));
    assert_eq!((w.leases().len(), w.flying.len()), (3, 1));
}

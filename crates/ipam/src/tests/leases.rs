//! Leases: one test for each way in which an identity could lose its address, or keep what others need.

use std::time::Duration;

use tideway_cloud::ErrorKind;
use tideway_model::{Cause, Families, LeaseTerms, PodAddresses, PodKey, PodRef, UnixMillis};

use super::{
    cloud::Fate,
    world::{World, facts, key, pod, secs, settings},
};
use crate::{AddressState, BoundPod, Event, Settings};

const DAY: Duration = Duration::from_hours(24);

pub(super) fn loose() -> LeaseTerms {
    LeaseTerms::default()
}

pub(super) fn strict() -> LeaseTerms {
    LeaseTerms { strict: true, ..LeaseTerms::default() }
}

pub(super) fn db(n: u32, uid: &str) -> PodRef {
    pod(&format!("db-{n}"), uid)
}

impl World {
    /// So many identities `db-0` ….
    pub(super) fn identities(&mut self, n: u32, terms: &LeaseTerms) {
        for n in 0..n {
            self.identities.insert(db(n, "x").key, terms.clone());
        }
    }

    pub(super) fn run(&mut self, container: &str, pod: &PodRef) -> PodAddresses {
        let id = self.add(container, pod);
        self.settle();
        self.granted(id).addresses
    }

    /// Pods of `db-0` … run side by side, then end one after the other, that of `db-0` first.
    pub(super) fn run_and_end(&mut self, n: u32) {
        for n in 0..n {
            self.run(&format!("c{n}"), &db(n, "u1"));
        }
        for n in 0..n {
            self.del(&format!("c{n}"));
            self.pass(secs(1));
        }
    }

    fn state_of(&self, addresses: PodAddresses) -> AddressState {
        let books = self.ipam.books(self.now);
        let all = books.enis.iter().flat_map(|e| &e.addresses);
        let mine = all.filter(|(ip, _)| addresses.iter().any(|own| own == *ip));
        mine.map(|(_, state)| state.clone()).next().expect("the node has the address")
    }

    pub(super) fn leases(&self) -> Vec<PodKey> {
        self.ipam.books(self.now).leases.into_iter().map(|l| l.pod).collect()
    }
}

pub(super) fn warm() -> World {
    let mut w = World::small();
    w.settle();
    w.identities(3, &loose());
    w
}

/// One shared ENI of four addresses, and not one more to be had.
pub(super) fn tight(terms: &LeaseTerms) -> World {
    let s = Settings { low: 0, high: 0, max_shared: Some(1), lease_max: Some(4), ..settings() };
    let mut w = World::with(s, facts(2, 4, Families::V4));
    w.settle();
    w.identities(4, terms);
    w
}

/// All four addresses wait for `db-0` … `db-3`, the one of `db-0` the longest.
fn all_leased(terms: &LeaseTerms) -> World {
    let mut w = tight(terms);
    w.run_and_end(4);
    w.pass(secs(40));
    assert_eq!(w.ipam.counts(w.now.boot, |_, _| false).leases.unclaimed, 4);
    w
}

/// The same, but the cloud has another ENI.
fn all_leased_with_room() -> World {
    let s = Settings { low: 0, high: 0, ..settings() };
    let mut w = World::with(s, facts(3, 4, Families::V4));
    w.settle();
    w.identities(4, &loose());
    w.run_and_end(4);
    w.pass(secs(60));
    w
}

#[test]
fn an_identity_that_comes_back_gets_its_address_although_others_have_been_free_for_longer() {
    let mut w = warm();
    let first = w.run("c1", &db(0, "u1"));
    w.del("c1");
    w.pass(secs(600));
    assert_eq!(w.state_of(first), AddressState::Leased);
    let other = w.run("c2", &pod("other", "u9"));
    assert_ne!(other, first);
    assert_eq!(w.run("c3", &db(0, "u2")), first);
}

#[test]
fn an_identity_waits_for_the_flush_and_not_for_the_whole_rest() {
    let mut w = warm();
    let first = w.run("c1", &db(0, "u1"));
    w.del("c1");
    let id = w.add("c2", &db(0, "u2"));
    assert!(w.waits(id), "its former container may still be in conntrack");
    let why = &w.ipam.books(w.now).waiting[0].why;
    assert_eq!(why.cause, Cause::LeaseNotReady, "{why}");
    w.settle();
    assert_eq!(w.granted(id).addresses, first);
    assert!(!w.journal.keys().any(|k| k.starts_with("cooling/")), "it does not rest any more");
}

#[test]
fn a_lease_outlives_a_restart_of_the_daemon_in_every_state() {
    let mut w = warm();
    let first = w.run("c1", &db(0, "u1"));
    w.crash();
    w.settle();
    w.del("c1");
    w.crash();
    w.pass(secs(60));
    assert_eq!(w.state_of(first), AddressState::Leased);
    w.crash();
    w.settle();
    assert_ne!(w.run("c2", &pod("other", "u9")), first);
    assert_eq!(w.run("c3", &db(0, "u2")), first);
}

#[test]
fn two_identities_keep_their_own_addresses_over_a_restart() {
    let mut w = warm();
    let own = [w.run("c0", &db(0, "u1")), w.run("c1", &db(1, "u1"))];
    w.go(0..2);
    w.pass(secs(40));
    w.crash();
    w.settle();
    let other = w.run("c2", &pod("other", "u9"));
    assert!(!own.contains(&other), "it is somebody's");
    assert_eq!([w.run("c3", &db(0, "u2")), w.run("c4", &db(1, "u2"))], own);
}

#[test]
fn a_lease_outlives_a_reboot_of_the_node() {
    let mut w = warm();
    let first = w.run("c1", &db(0, "u1"));
    w.lose_namespace(&key("c1"));
    // Boot time begins anew, wall time goes on.
    w.now.boot = secs(20);
    w.past.clear();
    w.now.wall = w.now.wall.plus(secs(120));
    w.crash();
    w.settle();
    // The kubelet's new container may come before anybody has told of the end of the old one.
    w.del("c1");
    assert_eq!(w.run("c2", &db(0, "u1")), first);
}

/// Found by the simulator.
#[test]
fn a_preparation_that_fails_once_after_a_restart_costs_no_identity_its_address() {
    let mut w = World::with(settings(), facts(3, 4, Families::V4));
    w.settle();
    w.identities(1, &loose());
    let own = w.run("c0", &db(0, "u1"));
    // Another ENI has free addresses.
    w.come(1..5);
    w.settle();
    w.del("c0");
    w.pass(secs(40));
    assert!(w.ipam.counts(w.now.boot, |_, _| false).shared.ready > 0);
    w.crash();
    while let Some(eni) = w.prepare.pop() {
        let mine = eni.addresses.iter().any(|ip| own.iter().any(|own| own == *ip));
        let result = if mine { Err("the kernel is busy".to_owned()) } else { Ok(()) };
        w.step(Event::EniPrepared { eni: eni.id, result });
    }
    let id = w.add("c9", &db(0, "u2"));
    w.pass(secs(3));
    assert_eq!(w.granted(id).addresses, own);
}

#[test]
fn a_crash_around_the_promise_neither_loses_nor_doubles_the_lease() {
    for (commit, done) in [(false, 0), (true, 0), (true, 9)] {
        let mut w = warm();
        let first = w.run("c1", &db(0, "u1"));
        w.del("c1");
        w.pass(secs(60));
        let id = w.next_id();
        let add = w.add_event(id, "c2", &db(0, "u2"));
        w.step_and_crash(add, commit, done);
        w.settle();
        let id = w.next_id();
        let add = w.add_event(id, "c2", &db(0, "u2"));
        w.step(add);
        w.settle();
        assert_eq!(w.granted(id).addresses, first, "{commit} {done}");
        assert_eq!(w.leases().len(), 1);
    }
}

#[test]
fn an_address_is_anybodys_when_its_lease_is_over() {
    let mut w = warm();
    let first = w.run("c1", &db(0, "u1"));
    w.del("c1");
    w.pass(secs(86_399));
    assert_eq!(w.state_of(first), AddressState::Leased);
    w.pass(secs(2));
    assert_ne!(w.state_of(first), AddressState::Leased);
    assert!(w.leases().is_empty() && !w.journal.keys().any(|k| k.starts_with("lease/")));
}

#[test]
fn a_jump_of_the_wall_clock_neither_ends_a_lease_nor_prolongs_it() {
    for ahead in [true, false] {
        let mut w = warm();
        let first = w.run("c1", &db(0, "u1"));
        w.del("c1");
        w.pass(secs(3600));
        w.now.wall = if ahead { w.now.wall.plus(DAY * 400) } else { UnixMillis(5) };
        w.pass(secs(82_700));
        // The new end is durable: a restart reads it.
        w.crash();
        w.pass(secs(50));
        assert_eq!(w.state_of(first), AddressState::Leased, "{ahead}");
        w.pass(secs(100));
        assert!(w.leases().is_empty(), "{ahead}");
    }
}

#[test]
fn a_clock_that_is_behind_after_a_reboot_gives_no_lease_more_than_its_time() {
    let mut w = warm();
    w.run("c1", &db(0, "u1"));
    w.del("c1");
    w.pass(secs(60));
    w.now.wall = UnixMillis(5);
    w.crash();
    w.pass(DAY + secs(1));
    assert!(w.leases().is_empty());
}

#[test]
fn leased_addresses_are_not_taken_for_free_ones() {
    let mut w = World::with(settings(), facts(3, 30, Families::V4));
    w.settle();
    w.identities(6, &loose());
    w.run_and_end(6);
    w.pass(secs(300));
    let (books, counts) = (w.ipam.books(w.now), w.ipam.counts(w.now.boot, |_, _| false));
    assert!((2..=6).contains(&books.free), "the pool is between its marks beside them");
    assert_eq!((counts.leases.unclaimed, counts.leases.strict), (6, 0));
    assert_eq!(counts.shared.ready, books.free + 6, "and they yield at once");
    assert_eq!(w.calls("Unassign"), 0);
}

#[test]
fn strict_leases_are_told_as_units_that_nobody_can_have() {
    let w = all_leased(&strict());
    let counts = w.ipam.counts(w.now.boot, |_, _| false);
    assert_eq!((counts.leases.unclaimed, counts.leases.strict), (4, 4));
    assert_eq!((counts.shared.ready, counts.shared.unusable), (0, 4));
    assert_eq!(counts.leases.identities[0].to_string(), "ns/db-0");
}

#[test]
fn a_shared_eni_with_a_lease_is_not_given_back() {
    let s = Settings { low: 0, high: 0, min_shared: 0, ..settings() };
    let mut w = World::with(s, facts(3, 4, Families::V4));
    w.settle();
    w.identities(1, &loose());
    let id = w.add("c1", &db(0, "u1"));
    w.pass(secs(20));
    let first = w.granted(id).addresses;
    w.del("c1");
    w.pass(secs(600));
    assert_eq!(w.calls("Detach"), 0);
    assert_eq!(w.state_of(first), AddressState::Leased);
    w.step(Event::OwnersGone(vec![db(0, "x").key]));
    w.pass(secs(600));
    assert_eq!(w.calls("Detach"), 1);
}

#[test]
fn under_exhaustion_the_oldest_lease_yields_to_a_waiting_pod() {
    let mut w = all_leased(&loose());
    let id = w.add("c9", &pod("other", "u9"));
    assert!(!w.waits(id), "{:?}", w.ipam.books(w.now).waiting);
    assert_eq!(w.leases(), [db(1, "x").key, db(2, "x").key, db(3, "x").key]);
    // Who lost its own address gets another one, at the cost of the next oldest.
    let id = w.add("c10", &db(0, "u2"));
    assert!(!w.waits(id));
    assert!(!w.leases().contains(&db(1, "x").key));
}

#[test]
fn a_strict_lease_never_yields() {
    let mut w = all_leased(&strict());
    let id = w.add("c9", &pod("other", "u9"));
    w.pass(secs(61));
    let why = &w.refused(id).why;
    assert!(why.text.contains("strict leases (4)"), "{why}");
    assert_eq!(why.cause, Cause::StrictLeases);
    assert_eq!(w.leases().len(), 4);
    assert_eq!(w.run("c10", &db(2, "u2")).iter().count(), 1);
}

#[test]
fn no_lease_yields_while_the_cloud_gives_more() {
    let mut w = all_leased_with_room();
    assert_eq!(w.leases().len(), 4);
    let id = w.add("c9", &pod("other", "u9"));
    assert!(w.waits(id), "a slot is on its way to an ENI");
    w.pass(secs(20));
    w.granted(id);
    assert_eq!(w.leases().len(), 4);
}

#[test]
fn a_lease_yields_when_the_cloud_refuses_what_the_pod_needs() {
    let mut w = all_leased_with_room();
    w.fates = vec![Fate::Refused(ErrorKind::SubnetFull)];
    let id = w.add("c9", &pod("other", "u9"));
    w.pass(secs(20));
    w.granted(id);
    assert_eq!(w.leases().len(), 3);
}

#[test]
fn leases_beyond_the_bound_end_oldest_first_and_strict_ones_stand() {
    let s = Settings { lease_max: Some(2), ..settings() };
    let mut w = World::with(s, facts(3, 10, Families::V4));
    w.settle();
    w.identities(4, &loose());
    w.identities.insert(db(0, "x").key, strict());
    w.run_and_end(4);
    assert_eq!(w.leases(), [db(0, "x").key, db(3, "x").key]);
    for n in 1..3 {
        w.identities.insert(db(n, "x").key, strict());
        w.run(&format!("d{n}"), &db(n, "u2"));
    }
    for n in 1..3 {
        w.del(&format!("d{n}"));
        w.pass(secs(1));
    }
    assert_eq!(w.leases(), [db(0, "x").key, db(1, "x").key], "the promises that stand are kept");
}

#[test]
fn an_address_that_the_cloud_takes_away_ends_its_lease() {
    let mut w = warm();
    let first = w.run("c1", &db(0, "u1"));
    w.del("c1");
    w.pass(secs(100));
    let ip = first.iter().next().unwrap();
    w.taken.insert(ip.to_string());
    for eni in w.cloud.enis.values_mut() {
        eni.addresses.retain(|own| *own != ip);
    }
    w.see_cloud();
    let id = w.add("c2", &db(0, "u2"));
    assert!(w.waits(id), "one look proves nothing");
    w.pass(secs(31));
    assert_ne!(w.granted(id).addresses, first);
}

#[test]
fn an_identity_that_is_told_only_later_has_its_lease_all_the_same() {
    let mut w = World::small();
    w.settle();
    let p = db(0, "u1");
    let first = w.run("c1", &p);
    let bound = BoundPod { pod: p, wants_eni: false, host_network: false, lease: Some(strict()) };
    w.step(Event::PodsBound(vec![bound]));
    w.step(Event::PodsBound(Vec::new()));
    w.del("c1");
    // Nobody tells who comes: the name is enough, and what was promised stays promised.
    w.identities.insert(db(0, "x").key, loose());
    assert_eq!(w.run("c2", &db(0, "u2")), first);
    assert!(w.ipam.books(w.now).leases[0].terms.strict);
}

#[test]
fn an_address_whose_former_container_never_goes_is_not_waited_for_beyond_its_rest() {
    let mut w = warm();
    let first = w.run("c1", &db(0, "u1"));
    w.del("c1");
    w.quiesce.clear();
    let id = w.add("c2", &db(0, "u2"));
    w.pass(secs(29));
    assert!(w.waits(id));
    w.pass(secs(2));
    assert_ne!(w.granted(id).addresses, first);
    assert_eq!(w.leases().len(), 1, "the lease is now for the new address");
}

#[test]
fn of_two_containers_of_an_identity_the_later_one_has_the_lease() {
    let mut w = warm();
    let first = w.run("c1", &db(0, "u1"));
    let second = w.run("c2", &db(0, "u1"));
    assert_ne!(first, second);
    w.del("c1");
    w.pass(secs(60));
    assert_ne!(w.state_of(first), AddressState::Leased);
    w.del("c2");
    assert_eq!(w.run("c3", &db(0, "u2")), second);
}

#[test]
fn a_workload_that_is_gone_ends_only_leases_that_nobody_claims() {
    let mut w = warm();
    w.run("c1", &db(0, "u1"));
    w.run("c2", &db(1, "u1"));
    w.del("c1");
    w.step(Event::OwnersGone(vec![db(0, "x").key, db(1, "x").key, db(2, "x").key]));
    assert_eq!(w.leases(), [db(1, "x").key]);
}

#[test]
fn a_pod_that_could_not_be_plumbed_keeps_its_address_for_the_next_try() {
    let mut w = warm();
    let first = w.run("c1", &db(0, "u1"));
    w.step(Event::PlumbFailed { key: key("c1") });
    assert_eq!(w.run("c2", &db(0, "u1")), first);
}

#[test]
fn a_container_that_never_had_its_address_leaves_its_identity_that_of_the_former_one() {
    for ends_first in [false, true] {
        let mut w = warm();
        w.identities(1, &strict());
        let first = w.run("c1", &db(0, "u1"));
        // Its sandbox was killed, and nobody knows of it when the pod comes back in a new one.
        let second = w.run("c2", &db(0, "u1"));
        assert_ne!(second, first);
        if ends_first {
            w.del("c1");
        }
        w.step(Event::PlumbFailed { key: key("c2") });
        w.del("c1");
        w.pass(secs(60));
        assert_eq!(w.state_of(first), AddressState::Leased);
        assert_eq!(w.run("c3", &db(0, "u1")), first);
    }
}

#[test]
fn an_address_that_others_have_by_now_is_not_leased_again() {
    let mut w = tight(&strict());
    let first = w.run("c1", &db(0, "u1"));
    w.run("c2", &db(0, "u1"));
    w.del("c1");
    w.pass(secs(60));
    let others: Vec<_> =
        (3..6).map(|n| w.run(&format!("c{n}"), &pod(&format!("p{n}"), "u9"))).collect();
    assert!(others.contains(&first), "{others:?}");
    w.step(Event::PlumbFailed { key: key("c2") });
    let books = w.ipam.books(w.now);
    assert!(books.leases.iter().all(|l| l.addresses != first), "{:?}", books.leases);
}

#[test]
fn without_a_time_there_are_no_leases() {
    let s = Settings { lease_ttl: Duration::ZERO, ..settings() };
    let mut w = World::with(s, facts(3, 10, Families::V4));
    w.settle();
    w.identities(1, &strict());
    w.run("c1", &db(0, "u1"));
    w.del("c1");
    assert!(w.leases().is_empty() && !w.journal.keys().any(|k| k.starts_with("lease/")));
}

#[test]
fn an_uninstall_waits_for_no_lease() {
    let mut w = all_leased(&strict());
    w.step(Event::Uninstall);
    w.pass(secs(300));
    assert!(w.uninstalled);
    assert!(!w.journal.keys().any(|k| k.starts_with("lease/")));
}

#[test]
fn both_families_of_a_lease_come_back_together() {
    let mut w = World::with(settings(), facts(3, 10, Families::Dual));
    w.settle();
    w.identities(1, &loose());
    let first = w.run("c1", &db(0, "u1"));
    assert_eq!(first.iter().count(), 2);
    w.del("c1");
    w.pass(secs(100));
    w.crash();
    w.settle();
    w.run("c2", &pod("other", "u9"));
    assert_eq!(w.run("c3", &db(0, "u2")), first);
}

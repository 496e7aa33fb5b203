//! The numbers that are published: they agree with each other after every step of every test, and with what pods could get.

use std::collections::BTreeSet;

use tideway_cloud::ErrorKind;
use tideway_model::{Families, Limits, PodKey, PodUid};

use super::{
    cloud::Fate,
    world::{World, facts, pod, secs, settings, subnet},
};
use crate::{AddressState, Counts, Event, Settings, Use};

impl World {
    pub(super) fn counts(&self) -> Counts {
        self.ipam.counts(self.now.boot, |_key, _uid| false)
    }

    fn counts_without(&self, gone: &[&str]) -> Counts {
        self.ipam.counts(self.now.boot, |key: &PodKey, _uid: Option<&PodUid>| {
            gone.contains(&key.name.as_str())
        })
    }

    /// What must hold at any time, and what the books say in another way.
    pub(super) fn counts_agree(&self) {
        let Counts { adapters, shared, exclusive, .. } = self.counts();
        let sum = adapters.shared + adapters.exclusive + adapters.foreign + adapters.free;
        if !self.uninstalled && adapters.free > 0 {
            assert_eq!(adapters.limit, sum, "{adapters:?}");
        }
        assert!(sum <= adapters.limit && adapters.free_for_shared <= adapters.free, "{adapters:?}");
        let parts = shared.ready + shared.assigned + shared.cooling + shared.unusable;
        assert_eq!(shared.held, parts, "{shared:?}");
        assert!(shared.held <= shared.capacity, "{shared:?}");
        let books = self.ipam.books(self.now);
        let yields = self.ipam.leases.unclaimed().filter(|l| self.ipam.can_yield(l)).count();
        assert_eq!(shared.ready, books.free + u32::try_from(yields).unwrap(), "{shared:?}");
        let (mut assigned, most) = (0, self.facts.families.list().len());
        for eni in books.enis.iter().filter(|e| e.usage == Use::Shared) {
            let pods: BTreeSet<_> = eni
                .addresses
                .iter()
                .filter_map(|(_ip, s)| match s {
                    AddressState::Assigned(key) => Some(key),
                    AddressState::Free
                    | AddressState::Cooling { .. }
                    | AddressState::Leased
                    | AddressState::Releasing
                    | AddressState::Lost
                    | AddressState::Reserved => None,
                })
                .collect();
            assigned += pods.len();
        }
        let shared_assigned = usize::try_from(shared.assigned).unwrap();
        // An address that is lost is with its pod still, and the books call it lost.
        assert!(shared_assigned >= assigned && most > 0, "{shared:?} {assigned}");
        assert!(exclusive.leaving <= exclusive.assigned, "{exclusive:?}");
        let devices = u32::try_from(books.devices.len()).unwrap();
        assert!(exclusive.offered + exclusive.assigned <= devices, "{exclusive:?}");
    }
}

/// Three ENIs of ten addresses: one place is kept for a shared ENI, one can become either.
fn warm() -> World {
    let mut w = World::small();
    w.settle();
    w
}

#[test]
fn an_empty_node_offers_its_kept_place_before_the_eni_is_there() {
    let mut w = World::small();
    w.hold_cloud = true;
    let before = w.counts();
    assert_eq!((before.shared.capacity, before.shared.held), (10, 0));
    let a = before.adapters;
    assert_eq!((a.limit, a.shared, a.exclusive, a.foreign, a.free), (2, 1, 0, 0, 1));
    assert_eq!((a.free_for_shared, a.units_per_adapter), (1, 10));
    w.hold_cloud = false;
    w.settle();
    let after = w.counts();
    assert_eq!((after.shared.capacity, after.shared.ready, after.shared.held), (10, 6, 6));
    assert_eq!(after.adapters, a);
    assert_eq!((after.exclusive.offered, after.exclusive.assigned), (1, 0));
    assert!(after.cloud_known && !after.uninstalling);
}

#[test]
fn a_unit_is_ready_then_assigned_then_leaving_then_cooling_then_ready() {
    let mut w = warm();
    w.add("c1", &pod("a", "ua"));
    w.settle();
    let s = w.counts().shared;
    assert_eq!((s.assigned, s.leaving, s.cooling), (1, 0, 0));
    // The pod is gone from the API, its sandbox is not gone yet.
    let s = w.counts_without(&["a"]).shared;
    assert_eq!((s.assigned, s.leaving, s.cooling), (1, 1, 0));
    w.del("c1");
    let s = w.counts_without(&["a"]).shared;
    assert_eq!((s.assigned, s.leaving, s.cooling), (0, 0, 1));
    w.pass(secs(31));
    let s = w.counts_without(&["a"]).shared;
    assert_eq!((s.assigned, s.leaving, s.cooling), (0, 0, 0));
    assert_eq!(s.ready, s.held);
}

#[test]
fn a_node_that_is_full_has_neither_room_nor_a_place_and_says_so_in_numbers() {
    let mut w = warm();
    for n in 0..20 {
        w.add(&format!("c{n}"), &pod(&format!("p{n}"), &format!("u{n}")));
        w.pass(secs(2));
    }
    let c = w.counts();
    assert_eq!((c.shared.capacity, c.shared.assigned, c.shared.ready), (20, 20, 0));
    assert_eq!((c.adapters.shared, c.adapters.free, c.adapters.free_for_shared), (2, 0, 0));
    assert_eq!((c.exclusive.offered, c.exclusive.assigned), (0, 0));
}

#[test]
fn a_device_takes_its_place_from_the_first_word_of_the_kubelet_until_its_eni_is_gone() {
    let mut w = warm();
    let p = pod("x", "ux");
    w.admit(0, &p);
    let c = w.counts();
    assert_eq!((c.exclusive.offered, c.exclusive.assigned, c.adapters.exclusive), (0, 1, 1));
    assert_eq!(c.adapters.free, 0);
    w.settle();
    w.add("c1", &p);
    assert_eq!(w.counts_without(&["x"]).exclusive.leaving, 1);
    assert_eq!(w.counts().exclusive.leaving, 0);
    w.kubelet.clear();
    w.del("c1");
    w.see_devices();
    w.advance(secs(1));
    w.see_devices();
    let c = w.counts();
    assert_eq!(c.exclusive.assigned, 0);
    assert_eq!(c.adapters.exclusive, 1, "the former holder's ENI is still attached");
    w.pass(secs(120));
    let c = w.counts();
    assert_eq!((c.adapters.exclusive, c.adapters.free, c.exclusive.offered), (0, 1, 1));
}

#[test]
fn a_pod_on_an_eni_that_was_taken_away_counts_once_and_gives_no_capacity() {
    let mut w = warm();
    let id = w.add("c1", &pod("a", "ua"));
    w.settle();
    let eni = w.granted(id).eni.clone();
    w.taken.insert(eni.to_string());
    w.cloud.enis.remove(&eni);
    for _ in 0..6 {
        w.pass(secs(60));
        w.see_cloud();
    }
    let c = w.counts();
    assert_eq!(c.shared.assigned, 1);
    assert_eq!(c.shared.capacity, 11, "a new ENI of ten, and what the pod holds: {c:?}");
}

#[test]
fn a_limit_on_shared_enis_leaves_their_places_to_exclusive_pods_only() {
    let settings = Settings { max_shared: Some(1), ..settings() };
    let mut w = World::with(settings, facts(4, 10, Families::V4));
    w.settle();
    let a = w.counts().adapters;
    assert_eq!((a.limit, a.shared, a.free, a.free_for_shared), (3, 1, 2, 0));
}

#[test]
fn the_scarcer_family_and_a_kept_primary_address_bound_the_units() {
    let settings = Settings { use_primary_address: false, ..settings() };
    let mut f = facts(3, 10, Families::Dual);
    f.limits = Limits { ipv6_per_eni: 4, ..f.limits };
    let mut w = World::with(settings, f);
    w.settle();
    let c = w.counts();
    assert_eq!((c.adapters.units_per_adapter, c.shared.capacity), (4, 4));
    assert_eq!((c.shared.held, c.shared.unusable), (4, 0), "{c:?}");
}

#[test]
fn a_full_subnet_is_named_while_it_is_not_asked_again() {
    let mut w = World::small();
    w.hold_cloud = true;
    w.settle();
    w.see_cloud();
    w.fates = vec![Fate::Refused(ErrorKind::SubnetFull)];
    while !w.flying.is_empty() {
        w.answer_cloud(0);
    }
    assert_eq!(w.counts().full, [w.facts.subnets[0].id.clone()]);
}

#[test]
fn a_node_that_is_being_uninstalled_offers_nothing() {
    let mut w = warm();
    w.step(Event::Uninstall);
    let c = w.counts();
    assert!(c.uninstalling);
    assert_eq!((c.adapters.free, c.adapters.free_for_shared, c.exclusive.offered), (0, 0, 0));
}

#[test]
fn addresses_that_the_host_does_not_know_yet_are_capacity_and_nothing_else() {
    let mut w = World::small();
    w.hold_cloud = true;
    w.settle();
    for _call in ["Create", "Attach"] {
        w.answer_cloud(0);
        let shared = w.counts().shared;
        assert_eq!((shared.capacity, shared.held, shared.unusable), (10, 0, 0));
    }
    w.settle();
    w.fates = vec![Fate::LostAnswer];
    w.come(0..5);
    w.answer_cloud(0);
    w.advance(secs(1));
    w.see_cloud();
    assert_eq!(w.prepare.len(), 1, "a look shows them");
    let shared = w.counts().shared;
    assert_eq!((shared.held, shared.unusable), (6, 0), "{shared:?}");
}

#[test]
fn an_eni_that_the_host_cannot_use_or_that_leaves_has_only_what_pods_hold() {
    let mut w = World::small();
    w.hold_cloud = true;
    w.settle();
    w.answer_cloud(0);
    w.answer_cloud(0);
    let eni = w.prepare.remove(0).id;
    w.step(Event::EniPrepared { eni, result: Err("no link".into()) });
    assert_eq!(w.counts().shared.capacity, 0);
    let mut w = warm();
    w.come(0..1);
    // Its subnet is not named any more.
    w.facts.subnets = vec![subnet(2)];
    w.crash();
    assert_eq!((w.counts().shared.capacity, w.counts().shared.held), (1, 1));
}

#[test]
fn addresses_of_one_family_that_rest_make_no_unit() {
    let mut w = World::with(settings(), facts(2, 30, Families::Dual));
    w.settle();
    w.come(0..1);
    let eni = w.cloud.enis.values_mut().find(|v| !v.primary).unwrap();
    eni.addresses.extend((1..4).map(|n| std::net::IpAddr::from([10, 9, 9, n])));
    w.see_cloud();
    w.advance(secs(61));
    w.see_cloud();
    let shared = w.counts().shared;
    assert_eq!((shared.held, shared.ready, shared.cooling), (6, 5, 0), "{shared:?}");
}

#[test]
fn more_enis_than_the_type_allows_leave_no_place() {
    let mut w = World::small();
    w.settle();
    w.admit(0, &pod("x", "ux"));
    w.settle();
    let mut enis = w.cloud.views();
    for n in 0..3 {
        let mut foreign = enis.iter().find(|v| v.primary).unwrap().clone();
        foreign.id = format!("eni-foreign-{n}").try_into().unwrap();
        foreign.primary = false;
        enis.push(foreign);
    }
    w.step(Event::CloudSeen { begun: w.now.boot, enis });
    let adapters = w.counts().adapters;
    assert_eq!(
        (adapters.shared, adapters.exclusive, adapters.foreign, adapters.free),
        (1, 1, 0, 0)
    );
}

#[test]
fn an_eni_whose_pod_has_gone_is_not_ready_for_another_one_and_gives_its_place_when_it_is_off() {
    let mut w = World::small();
    w.settle();
    let p = pod("x", "ux");
    w.admit(0, &p);
    w.settle();
    w.add("c1", &p);
    w.pass(settings().late_effect);
    w.del("c1");
    w.kubelet.clear();
    w.advance(secs(1));
    w.see_devices();
    assert_eq!(
        (w.counts().exclusive.ready, w.counts().adapters.exclusive),
        (0, 1),
        "its link is not back"
    );
    w.settle();
    assert_eq!(
        (w.counts().exclusive.ready, w.counts().adapters.exclusive),
        (0, 0),
        "it only rests"
    );
    assert_eq!(w.cloud.enis.len(), 3);
}

/// The subnet had no whole prefix when the ENI was filled; later it is asked for prefixes again.
#[test]
fn an_eni_that_is_full_of_single_addresses_has_no_capacity_for_prefixes() {
    let s = Settings { prefixes: true, max_shared: Some(1), ..settings() };
    let mut w = World::with(s, facts(2, 4, Families::V4));
    w.cloud.fragmented = true;
    w.come(0..4);
    w.pass(secs(2000));
    w.tick();
    assert_eq!(w.counts().shared.capacity, 4);
}

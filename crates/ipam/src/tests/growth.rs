//! How many addresses and ENIs are asked for, where, and what keeps an ENI or gives it back.

use std::time::Duration;

use tideway_cloud::{CloudOp, ErrorKind};
use tideway_model::{EniState, Families, Family, Limits, SlotId};

use super::cloud::Fate;
use super::world::{World, facts, pod, secs, settings};
use crate::{AddressState, COMMAND_PATIENCE, Command, Event, NodeFacts, Settings, Use};

fn preferred() -> Settings {
    Settings { prefixes: true, use_primary_address: false, ..settings() }
}

/// The type allows so many IPv6 addresses of an ENI, and ten IPv4 ones.
fn few_ipv6(n: u16, enis: u16) -> NodeFacts {
    let facts = facts(enis, 10, Families::Dual);
    NodeFacts { limits: Limits { ipv6_per_eni: n, ..facts.limits }, ..facts }
}

fn all_served(w: &World) -> bool {
    w.ipam.books(w.now).waiting.is_empty()
}

#[test]
fn a_burst_beyond_the_room_of_an_eni_asks_for_the_next_one_at_once() {
    let mut w = World::with(Settings { min_shared: 2, ..settings() }, facts(4, 10, Families::V4));
    w.settle();
    w.hold_cloud = true;
    w.come(0..12);
    let calls: Vec<_> = w.flying.iter().map(|(_, op)| op).collect();
    assert!(matches!(calls[..], [CloudOp::Assign { .. }, CloudOp::Create(_)]), "{calls:?}");
}

#[test]
fn an_eni_that_is_being_prepared_is_on_its_way_and_no_other_one_is_created() {
    let mut w = World::with(Settings { min_shared: 2, ..settings() }, facts(4, 10, Families::V4));
    w.settle();
    assert_eq!(w.calls("Create"), 1);
}

#[test]
fn the_scarcer_family_decides_when_another_eni_is_needed() {
    let mut w = World::with(settings(), few_ipv6(4, 5));
    w.settle();
    w.come(0..12);
    w.pass(secs(10));
    assert!(all_served(&w), "{:?}", w.ipam.books(w.now).waiting);
}

#[test]
fn an_ipv6_prefix_leaves_room_for_as_many_pods_as_there_are_ipv4_addresses() {
    for places in [1, 8] {
        let mut w = World::with(preferred(), few_ipv6(places, 4));
        w.settle();
        w.come(0..60);
        w.pass(secs(10));
        let v4 = w.ipam.enis.values().map(|e| e.count(Family::V4)).sum::<u16>();
        assert!(v4 <= 6, "{v4} places for 66 addresses and the primary one");
        assert_eq!((all_served(&w), w.calls("Create")), (true, 1), "{places} places");
        let one = w.ipam.enis.values().all(|e| e.count(Family::V6) == 1);
        assert!(one, "all of its addresses are within it");
    }
}

#[test]
fn a_type_without_ipv6_has_no_room_for_a_pod_with_both_families() {
    let mut w = World::with(preferred(), few_ipv6(0, 4));
    assert_eq!(w.counts().adapters.units_per_adapter, 0);
    w.settle();
    w.admit(0, &pod("x", "ux"));
    w.settle();
    w.pass(secs(1));
    assert_eq!((w.calls("Create"), w.calls("Assign")), (1, 0), "a pod's own only");
    let w = World::with(preferred(), few_ipv6(1, 4));
    assert_eq!(w.counts().adapters.units_per_adapter, 9 * 16);
}

#[test]
fn single_addresses_beside_an_ipv6_prefix_go_back() {
    let mut w = World::with(preferred(), facts(2, 20, Families::Dual));
    w.settle();
    w.cloud.fragmented = true;
    w.come(0..20);
    w.pass(secs(10));
    assert!(w.calls("Assign {") > 0 && all_served(&w));
    w.go(0..20);
    w.pass(secs(200));
    let eni = w.cloud.enis.values().find(|v| !v.primary).unwrap();
    assert_eq!(eni.addresses.len(), 1, "the primary one: {eni:?}");
}

#[test]
fn a_pods_own_eni_is_none_of_the_shared_ones_that_are_allowed() {
    let s = Settings { max_shared: Some(2), ..settings() };
    let mut w = World::with(s, facts(5, 4, Families::V4));
    w.settle();
    w.admit(0, &pod("x", "ux"));
    w.settle();
    w.come(0..6);
    w.pass(secs(10));
    assert!(all_served(&w));
}

#[test]
fn an_idle_eni_without_which_there_is_nothing_stays() {
    let mut w = World::with(Settings { low: 0, high: 4, ..settings() }, facts(4, 4, Families::V4));
    w.settle();
    w.come(0..5);
    w.pass(secs(10));
    w.go(4..5);
    w.pass(secs(200));
    assert_eq!(w.cloud.attached(), 3, "the other one is full");
}

#[test]
fn an_idle_shared_eni_stays_while_a_pods_own_finds_an_adapter() {
    for enis in [3, 4] {
        let s = Settings { min_shared: 0, ..settings() };
        let mut w = World::with(s, facts(enis, 10, Families::V4));
        w.settle();
        w.pass(secs(70));
        w.hold_cloud = true;
        w.admit(0, &pod("x", "ux"));
        w.answer_cloud(0);
        w.tick();
        assert!(matches!(w.flying[..], [(_, CloudOp::Attach { .. })]), "{:?}", w.flying);
        w.tick();
        let books = w.ipam.books(w.now);
        assert!(books.free > 0, "{:?}", books.enis);
    }
}

#[test]
fn an_eni_whose_pod_went_while_it_was_created_is_not_attached_any_more() {
    let mut w = World::with(settings(), facts(4, 10, Families::V4));
    w.settle();
    let attached = w.calls("Attach");
    w.hold_cloud = true;
    w.admit(0, &pod("x", "ux"));
    w.kubelet.clear();
    w.pass(secs(60));
    w.hold_cloud = false;
    w.pass(secs(200));
    assert_eq!((w.calls("Create"), w.calls("Attach")), (2, attached));
    assert_eq!(w.cloud.enis.len(), 2, "the primary one and the shared one");
}

#[test]
fn a_pods_own_eni_has_the_families_of_the_node_and_asks_for_no_other() {
    for families in [Families::V4, Families::Dual] {
        let mut w = World::with(settings(), facts(4, 10, families));
        w.settle();
        w.admit(0, &pod("x", "ux"));
        w.settle();
        w.pass(secs(5));
        assert_eq!(w.calls("Assign"), 0, "{:?}", w.cloud.calls);
    }
}

#[test]
fn a_pods_own_eni_that_lost_its_ipv6_address_asks_for_one() {
    for fate in [Fate::Good, Fate::LostAnswer] {
        let mut w = World::with(settings(), facts(4, 10, Families::Dual));
        w.settle();
        let p = pod("x", "ux");
        w.admit(0, &p);
        w.settle();
        w.pass(secs(100));
        let own = w.ipam.books(w.now).enis.into_iter().find(|e| e.usage != Use::Shared).unwrap();
        let view = w.cloud.enis.get_mut(&own.id.unwrap()).unwrap();
        view.addresses.retain(std::net::IpAddr::is_ipv4);
        w.fates = vec![fate];
        w.see_cloud();
        w.pass(secs(60));
        let id = w.add("c1", &p);
        assert!(w.granted(id).addresses.v6.is_some());
    }
}

#[test]
fn a_pod_that_is_here_or_waits_is_demand_once_and_its_namesake_is_another() {
    let bound = |uid| crate::BoundPod {
        pod: pod("a", uid),
        wants_eni: false,
        host_network: false,
        lease: None,
    };
    let mut w = World::small();
    w.settle();
    w.add("c0", &pod("b", "u0"));
    w.step(Event::PodsBound(vec![bound("u1")]));
    assert_eq!(w.ipam.demand(), 1);
    let unknown = tideway_model::PodRef { uid: None, ..pod("a", "u1") };
    w.add("c9", &unknown);
    assert_eq!(w.ipam.demand(), 0, "it may be this one");
    let mut w = World::small();
    w.step(Event::PodsBound(vec![bound("u1")]));
    w.add("c1", &pod("a", "u1"));
    assert_eq!(w.ipam.demand(), 1, "it waits");
    w.settle();
    assert_eq!(w.ipam.demand(), 0, "it is here");
    w.step(Event::PodsBound(vec![bound("u2")]));
    assert_eq!(w.ipam.demand(), 1, "its successor has not asked yet");
}

#[test]
fn a_node_whose_cloud_keeps_silent_goes_on_after_fifteen_seconds() {
    let mut w = World::small();
    w.see_devices();
    assert_eq!(w.ipam.next_deadline(), Some(w.now.boot + secs(15)));
    w.advance(secs(15));
    w.tick();
    assert!(matches!(w.flying[..], [(_, CloudOp::Create(_))]), "{:?}", w.flying);
}

#[test]
fn a_preparation_without_a_report_has_an_end() {
    let mut w = World::small();
    w.hold_cloud = true;
    w.settle();
    w.answer_cloud(0);
    w.answer_cloud(0);
    assert_eq!(w.prepare.len(), 1);
    let due = w.ipam.next_deadline().map(|d| d.saturating_sub(w.now.boot));
    assert!(due.is_some_and(|d| d > Duration::ZERO && d <= COMMAND_PATIENCE), "{due:?}");
}

#[test]
fn new_pods_go_to_the_eni_with_most_pods_whichever_was_there_first() {
    let mut w = World::with(settings(), facts(4, 4, Families::V4));
    w.settle();
    w.come(0..7);
    w.pass(secs(5));
    w.go(0..3);
    w.pass(secs(31));
    let on = |w: &World, c: &str| {
        let books = w.ipam.books(w.now);
        let own = books.attachments.into_iter().find(|a| a.key.container.as_str() == c);
        own.map(|a| a.eni)
    };
    w.come(10..11);
    assert_eq!(on(&w, "c10"), on(&w, "c6"), "three are there, and one on the other");
}

/// What is fullest counts, not what was free for longest.
#[test]
fn new_pods_go_to_the_fullest_prefix() {
    let mut w = World::with(preferred(), facts(2, 8, Families::V4));
    w.settle();
    w.come(0..20);
    w.settle();
    let former =
        w.ipam.books(w.now).attachments.into_iter().find(|a| a.key.container.as_str() == "c0");
    w.go(0..1);
    w.pass(secs(31));
    w.come(20..21);
    let books = w.ipam.books(w.now);
    let new = books.attachments.iter().find(|a| a.key.container.as_str() == "c20").unwrap();
    assert_eq!(new.addresses, former.unwrap().addresses);
}

#[test]
fn a_request_that_is_asked_twice_ends_at_each_deadline_by_itself() {
    let mut w = World::small();
    w.fates = vec![Fate::Refused(ErrorKind::Unavailable); 200];
    let first = w.add("c1", &pod("a", "u1"));
    w.advance(secs(20));
    let second = w.add("c1", &pod("a", "u1"));
    w.advance(secs(41));
    w.tick();
    assert!(!w.waits(first) && w.waits(second), "{:?}", w.answers);
}

/// What the others take is seen when they have it.
#[test]
fn no_more_enis_are_attached_than_there_are_adapters() {
    let mut w = World::with(settings(), facts(4, 10, Families::V4));
    w.settle();
    w.hold_cloud = true;
    w.admit(0, &pod("x", "ux"));
    w.admit(1, &pod("y", "uy"));
    let mut enis = w.cloud.views();
    let mut foreign = enis.iter().find(|v| v.primary).unwrap().clone();
    (foreign.id, foreign.primary) = ("eni-foreign".try_into().unwrap(), false);
    enis.push(foreign);
    w.step(Event::CloudSeen { begun: w.now.boot, enis });
    w.answer_cloud(0);
    w.answer_cloud(0);
    let attaches = w.flying.iter().filter(|(_, op)| matches!(op, CloudOp::Attach { .. })).count();
    assert_eq!((attaches, w.flying.len()), (1, 1), "the second one waits");
}

#[test]
fn a_pods_own_eni_is_never_prepared_on_the_host() {
    let mut w = World::with(settings(), facts(4, 10, Families::V4));
    w.settle();
    let told = |w: &World| w.commands.iter().filter(|c| matches!(c, Command::Prepare(_))).count();
    let before = told(&w);
    w.admit(0, &pod("x", "ux"));
    w.settle();
    assert_eq!(told(&w), before);
}

#[test]
fn an_eni_whose_pod_went_before_it_was_created_is_not_created() {
    let mut w = World::with(settings(), facts(4, 10, Families::V4));
    w.settle();
    w.fates = vec![Fate::Refused(ErrorKind::Denied("ecs:CreateNetworkInterface".into()))];
    w.admit(0, &pod("x", "ux"));
    w.settle();
    w.kubelet.clear();
    w.see_devices();
    w.advance(secs(31));
    w.see_devices();
    w.pass(secs(200));
    assert_eq!((w.calls("Create"), w.ipam.books(w.now).enis.len()), (1, 1));
}

/// One adapter is missing: one idle ENI makes room, not one with each step until it is free.
#[test]
fn one_idle_eni_gives_way_to_one_pod_and_none_that_keeps_leases() {
    for leased in [false, true] {
        let s = Settings { min_shared: 0, low: 6, high: 6, ..settings() };
        let mut w = World::with(s, facts(4, 4, Families::V4));
        w.settle();
        let p = pod("db-0", "u1");
        if leased {
            w.identities.insert(
                p.key.clone(),
                tideway_model::LeaseTerms { strict: true, ..Default::default() },
            );
        }
        w.add("c0", &p);
        w.come(1..6);
        w.pass(secs(70));
        w.del("c0");
        w.go(1..6);
        w.pass(secs(40));
        let shared = |w: &World| {
            let books = w.ipam.books(w.now);
            let kept =
                books.enis.iter().filter(|e| e.state == EniState::Ready && e.usage == Use::Shared);
            kept.count()
        };
        assert_eq!(shared(&w), 3, "every adapter is taken");
        w.kubelet.insert(SlotId(0), pod("x", "ux").key);
        w.hold_cloud = true;
        w.step(Event::Allocated { slot: SlotId(0) });
        w.answer_cloud(0);
        for _ in 0..3 {
            w.tick();
        }
        assert_eq!(shared(&w), 2, "leased: {leased}");
        let books = w.ipam.books(w.now);
        assert_eq!(books.leases.len(), usize::from(leased));
        let leaving =
            books.enis.iter().filter(|e| e.state != EniState::Ready && e.usage == Use::Shared);
        let mut leased_there = leaving.flat_map(|e| &e.addresses);
        assert!(!leased_there.any(|(_, s)| *s == AddressState::Leased));
    }
}

#[test]
fn an_unassign_that_is_refused_is_not_sent_again_at_once_nor_beside_another_call() {
    let mut w = World::with(settings(), facts(2, 30, Families::V4));
    w.settle();
    w.come(0..20);
    w.settle();
    w.hold_cloud = true;
    w.come(20..30);
    assert_eq!(w.flying.len(), 1, "an Assign");
    w.go(0..30);
    w.pass(secs(90));
    assert_eq!(w.flying.len(), 1);
    w.hold_cloud = false;
    w.fates = vec![Fate::Refused(ErrorKind::Unavailable); 100];
    w.fates[0] = Fate::Good;
    w.pass(secs(30));
    let sent = w
        .commands
        .iter()
        .filter(|c| matches!(c, Command::Cloud { op: CloudOp::Unassign { .. }, .. }));
    let sent = sent.count();
    assert!((1..=8).contains(&sent), "{sent}");
}

#[test]
fn the_end_of_a_surplus_and_of_a_young_enis_wait_is_a_deadline() {
    let mut w = World::with(settings(), facts(3, 30, Families::V4));
    w.settle();
    w.come(0..20);
    w.pass(secs(900));
    w.go(0..20);
    w.pass(secs(31));
    let due = |w: &World| w.ipam.next_deadline().map(|d| d.saturating_sub(w.now.boot));
    assert!(due(&w).is_some_and(|d| d <= secs(30)), "{:?}", due(&w));
    let mut w = World::small();
    w.settle();
    w.admit(0, &pod("x", "ux"));
    w.settle();
    w.kubelet.clear();
    w.see_devices();
    w.advance(secs(31));
    w.see_devices();
    while !w.quiesce.is_empty() {
        w.answer_quiesce(0);
    }
    w.see_devices();
    assert!(w.ipam.books(w.now).enis.iter().any(|e| e.state == EniState::Detaching));
    assert_eq!(due(&w), Some(secs(29)));
}

/// The subnet had no whole prefix when the ENI was made; later it has.
#[test]
fn single_ipv6_addresses_take_the_places_of_prefixes() {
    for (places, enis) in [(6, 2), (8, 1)] {
        let s = Settings { min_shared: 3, ..preferred() };
        let mut w = World::with(s, facts(4, places, Families::V6));
        w.cloud.fragmented = true;
        w.pass(secs(10));
        assert_eq!(
            (w.calls("Create"), w.ipam.books(w.now).free),
            (2, 6),
            "the first one is refused"
        );
        w.cloud.fragmented = false;
        w.pass(secs(1000));
        w.come(0..40);
        w.pass(secs(10));
        assert!(all_served(&w));
        assert_eq!(w.ipam.books(w.now).enis.len(), enis);
    }
}

//! The pool's plan: batches, watermarks, limits.

use super::world::{World, facts, pod, secs, settings, subnet};
use crate::Event;
use std::collections::BTreeMap;
use tideway_cloud::CloudOp;
use tideway_model::{Families, SlotId};

#[test]
fn a_burst_on_a_cold_node_uses_the_fewest_calls() {
    let mut w = World::with(settings(), facts(8, 20, Families::V4));
    let ids: Vec<_> = (0..100)
        .map(|n| w.add(&format!("c{n}"), &pod(&format!("p{n}"), &format!("u{n}"))))
        .collect();
    w.pass(secs(10));
    assert!(ids.iter().all(|id| !w.waits(*id)));
    // 106 units on ENIs of 20: six ENIs, each one Create and one Attach; the first was sized before the burst.
    assert!(w.calls("Create") <= 6, "{}", w.calls("Create"));
    assert!(w.calls("Assign") <= 2, "{}", w.calls("Assign"));
}

#[test]
fn what_arrives_during_a_call_forms_the_next_one() {
    let mut w = World::with(settings(), facts(3, 30, Families::V4));
    w.settle();
    w.come(0..5);
    assert_eq!(w.flying.len(), 1, "below low: one call at once");
    w.come(5..12);
    assert_eq!(w.flying.len(), 1, "one change of an ENI at a time");
    w.settle();
    assert_eq!(w.calls("Assign"), 2);
    assert_eq!(w.ipam.books(w.now).waiting.len(), 0);
}

#[test]
fn steady_churn_within_the_watermarks_costs_no_call() {
    let mut s = settings();
    s.high = 8;
    let mut w = World::with(s, facts(3, 10, Families::V4));
    w.settle();
    let before = w.cloud.calls.len();
    for n in 0..40 {
        let c = format!("c{n}");
        w.add(&c, &pod(&c, &c));
        w.pass(secs(5));
        w.del(&c);
        w.pass(secs(5));
    }
    assert_eq!(w.cloud.calls.len(), before);
}

#[test]
fn cooling_addresses_do_not_count_as_available() {
    let mut w = World::with(settings(), facts(3, 30, Families::V4));
    w.settle();
    for n in 0..5 {
        let c = format!("c{n}");
        w.add(&c, &pod(&c, &c));
        w.del(&c);
    }
    w.settle();
    assert!(w.ipam.books(w.now).free >= 2);
}

#[test]
fn a_surplus_goes_back_after_settle_and_not_before() {
    let mut w = World::with(settings(), facts(3, 30, Families::V4));
    w.settle();
    w.come(0..20);
    w.settle();
    w.go(0..20);
    w.pass(secs(31));
    assert_eq!(w.calls("Unassign"), 0);
    w.pass(secs(40));
    assert_eq!(w.ipam.books(w.now).free, 6);
    assert!(w.calls("Unassign") > 0);
}

#[test]
fn a_surplus_of_both_families_goes_back_and_no_ipv6_address_stays_behind() {
    let mut s = settings();
    s.assign_batch = 30;
    let mut w = World::with(s, facts(3, 30, Families::Dual));
    w.settle();
    w.come(0..20);
    w.settle();
    w.go(0..20);
    w.pass(secs(100));
    let books = w.ipam.books(w.now);
    assert_eq!(books.free, 6);
    let left: usize = books.enis.iter().map(|eni| eni.addresses.len()).sum();
    assert_eq!(left, 12, "six of each family");
    for op in &w.cloud.calls {
        if let CloudOp::Unassign { addresses, .. } = op {
            let v6 = addresses.iter().filter(|ip| ip.is_ipv6()).count();
            assert!(v6 == 0 || v6 == addresses.len() && v6 <= 10, "{op:?}");
        }
    }
}

/// The subnet gives IPv4 addresses and no IPv6 ones, and the need ends meanwhile: half pairs are of no use to a pod.
#[test]
fn addresses_of_one_family_that_no_pod_can_take_go_back() {
    use super::cloud::Fate;
    let mut s = settings();
    s.max_shared = Some(1);
    let mut w = World::with(s, facts(3, 30, Families::Dual));
    w.settle();
    for n in 0..5 {
        let c = format!("c{n}");
        w.add(&c, &pod(&c, &c));
    }
    w.fates = vec![Fate::Refused(tideway_cloud::ErrorKind::SubnetFull); 5];
    w.fates[0] = Fate::Good;
    w.settle();
    let count = |w: &World, v6: bool| {
        let books = w.ipam.books(w.now);
        let addresses = books.enis.iter().flat_map(|eni| &eni.addresses);
        addresses.filter(|(ip, _)| ip.is_ipv6() == v6).count()
    };
    assert_eq!((count(&w, false), count(&w, true)), (11, 6));
    for n in 0..5 {
        w.del(&format!("c{n}"));
    }
    w.pass(secs(40));
    assert_eq!(w.ipam.books(w.now).free, 6, "nothing is asked for any more");
    w.fates.clear();
    w.pass(secs(120));
    assert_eq!((count(&w, false), count(&w, true)), (6, 6));
    let calls = w.cloud.calls.len();
    w.pass(secs(600));
    assert_eq!(w.cloud.calls.len(), calls, "and that is all");
}

#[test]
fn a_whole_idle_eni_goes_before_single_addresses() {
    let mut s = settings();
    s.min_shared = 1;
    let mut w = World::with(s, facts(4, 6, Families::V4));
    w.settle();
    w.come(0..10);
    w.pass(secs(10));
    assert!(w.calls("Create") >= 2);
    w.go(0..10);
    w.pass(secs(200));
    assert_eq!(w.cloud.attached(), 2, "primary and one shared ENI");
    assert!((2..=6).contains(&w.ipam.books(w.now).free), "{}", w.ipam.books(w.now).free);
}

#[test]
fn a_full_subnet_is_left_for_the_next_one() {
    use super::cloud::Fate;
    let mut f = facts(3, 10, Families::V4);
    f.subnets.push(subnet(2));
    let mut w = World::with(settings(), f);
    w.fates = vec![Fate::Refused(tideway_cloud::ErrorKind::SubnetFull)];
    w.settle();
    assert_eq!(w.ipam.books(w.now).free, 6);
    let subnets: Vec<&str> = w.cloud.enis.values().map(|v| v.subnet.as_str()).collect();
    assert!(subnets.contains(&"vsw-2"));
}

#[test]
fn ipv6_calls_never_ask_for_more_than_ten() {
    let mut s = settings();
    s.assign_batch = 30;
    let mut w = World::with(s, facts(3, 40, Families::Dual));
    w.come(0..30);
    w.pass(secs(5));
    for op in &w.cloud.calls {
        if let CloudOp::Create(c) = op {
            assert!(c.v6 <= 10);
        }
        if let CloudOp::Assign { family: tideway_model::Family::V6, count, .. } = op {
            assert!(*count <= 10);
        }
    }
    assert_eq!(w.ipam.books(w.now).waiting.len(), 0);
}

#[test]
fn bound_pods_are_demand_before_they_ask() {
    let mut w = World::with(settings(), facts(3, 30, Families::V4));
    w.settle();
    let pods = (0..8)
        .map(|n| crate::BoundPod {
            pod: pod(&format!("p{n}"), &format!("u{n}")),
            wants_eni: false,
            host_network: n == 7,
            lease: None,
        })
        .collect();
    w.step(Event::PodsBound(pods));
    w.settle();
    assert_eq!(w.ipam.books(w.now).free, 6 + 7);
}

#[test]
fn max_shared_is_never_exceeded() {
    let mut s = settings();
    s.max_shared = Some(1);
    let mut w = World::with(s, facts(4, 3, Families::V4));
    w.come(0..10);
    w.pass(secs(70));
    assert_eq!(w.calls("Create"), 1);
}

#[test]
fn growth_goes_to_the_subnet_with_most_room() {
    let mut facts = facts(3, 4, Families::V4);
    facts.subnets = vec![subnet(1), subnet(2)];
    let (first, second) = (facts.subnets[0].id.clone(), facts.subnets[1].id.clone());
    let created = |w: &World| {
        let calls = w.cloud.calls.iter();
        let subnets = calls.filter_map(|op| match op {
            CloudOp::Create(create) => Some(create.subnet.clone()),
            CloudOp::Attach { .. }
            | CloudOp::Detach { .. }
            | CloudOp::Delete { .. }
            | CloudOp::Assign { .. }
            | CloudOp::Unassign { .. }
            | CloudOp::AssignPrefixes { .. }
            | CloudOp::UnassignPrefixes { .. }
            | CloudOp::Describe { .. } => None,
        });
        subnets.collect::<Vec<_>>()
    };
    let mut w = World::with(settings(), facts);
    w.step(Event::Room(BTreeMap::from([(first.clone(), 10), (second.clone(), 300)])));
    w.settle();
    assert_eq!(created(&w)[..1], [second]);
    w.step(Event::Room(BTreeMap::from([(first.clone(), 10), (subnet(2).id, 9)])));
    w.come(0..5);
    w.pass(secs(30));
    assert_eq!(created(&w).last(), Some(&first));
}

#[test]
fn an_idle_shared_eni_gives_way_to_a_pods_own() {
    let mut w = World::with(settings(), facts(3, 4, Families::V4));
    w.settle();
    w.see_devices();
    // Enough pods for a second shared ENI, then they leave.
    w.come(0..5);
    w.pass(secs(30));
    assert_eq!(w.calls("Attach"), 2, "both adapters are taken");
    w.pass(settings().late_effect);
    w.go(0..5);
    w.settle();
    // The kubelet gives the device out of a list that was older.
    let p = pod("x", "u9");
    w.kubelet.insert(SlotId(0), p.key.clone());
    w.step(Event::Allocated { slot: SlotId(0) });
    let id = w.add("x1", &p);
    w.pass(secs(20));
    assert!(w.granted(id).exclusive.is_some());
}

#[test]
fn an_idle_shared_eni_stays_while_no_pods_own_waits_for_its_adapter() {
    let mut w = World::with(settings(), facts(4, 4, Families::V4));
    w.settle();
    w.see_devices();
    w.come(0..4);
    w.pass(secs(30));
    assert_eq!(w.cloud.attached(), 3, "one that is full and one that is idle");
    let p = pod("x", "u9");
    w.admit(0, &p);
    let id = w.add("x1", &p);
    w.pass(secs(300));
    assert!(w.granted(id).exclusive.is_some());
    assert_eq!((w.cloud.attached(), w.calls("Detach")), (4, 0));
    assert_eq!(w.ipam.books(w.now).free, 4);
}

/// The pool grows onto the device's slot, and then it is the ENI of the reserved slot that nobody uses any more.
#[test]
fn a_device_is_offered_again_whichever_shared_eni_goes() {
    let offered = |w: &World| w.ipam.books(w.now).devices.iter().filter(|d| d.healthy).count();
    let mut w = World::with(settings(), facts(3, 4, Families::V4));
    w.settle();
    w.see_devices();
    assert_eq!(offered(&w), 1);
    w.come(0..5);
    w.pass(secs(30));
    assert_eq!((w.calls("Attach"), offered(&w)), (2, 0), "both adapters are taken");
    // The pods of the first ENI go, that of the second stays.
    w.go(0..4);
    w.pass(secs(200));
    assert_eq!(w.cloud.attached(), 2, "primary and one shared ENI");
    assert_eq!(offered(&w), 1, "the other adapter is free");
    // It is really to be had, and growth does not take it from a pod that may get it.
    w.come(5..10);
    w.step(Event::Tick);
    let p = pod("x", "u9");
    w.kubelet.insert(SlotId(0), p.key.clone());
    w.step(Event::Allocated { slot: SlotId(0) });
    let id = w.add("x1", &p);
    w.pass(secs(20));
    assert!(w.granted(id).exclusive.is_some());
    assert_eq!(w.cloud.attached(), 3);
}

/// Two idle ENIs share what one of them could hold, and no exclusive pod comes to a node that offers no device.
#[test]
fn an_idle_eni_that_another_can_replace_keeps_no_device_withdrawn() {
    let offered = |w: &World| w.ipam.books(w.now).devices.iter().filter(|d| d.healthy).count();
    let mut s = settings();
    s.high = 8;
    let mut w = World::with(s, facts(3, 4, Families::V4));
    w.settle();
    w.see_devices();
    for n in 0..5 {
        let c = format!("c{n}");
        w.add(&c, &pod(&c, &c));
    }
    w.pass(secs(30));
    for n in 0..5 {
        w.del(&format!("c{n}"));
    }
    w.pass(secs(200));
    assert_eq!((w.cloud.attached(), offered(&w)), (3, 0), "one ENI cannot hold the pool");
    // The node comes back as a larger type.
    w.facts.limits.ipv4_per_eni = 10;
    w.cloud.limits.ipv4_per_eni = 10;
    w.crash();
    w.pass(secs(200));
    assert_eq!((w.cloud.attached(), offered(&w)), (2, 1));
    let calls = w.cloud.calls.len();
    w.pass(secs(600));
    assert_eq!(w.cloud.calls.len(), calls, "it is not made again");
}

#[test]
fn a_pool_below_its_mark_names_the_reason() {
    let mut w = World::with(settings(), facts(2, 2, Families::V4));
    w.settle();
    assert_eq!(w.ipam.shortfall(w.now.boot), None);
    w.add("c1", &pod("a", "u1"));
    let why = w.ipam.shortfall(w.now.boot).expect("one is left of two");
    assert!(why.contains("instance type"), "{why}");
    assert_eq!(w.ipam.books(w.now).shortfall, Some(why));
}

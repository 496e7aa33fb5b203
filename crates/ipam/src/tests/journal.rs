//! What is written: all that changed, and nothing else.

use tideway_model::{EniState, Families, SlotId};

use super::damaged::{attachment, eni, keyed, restored, shared_pod};
use super::simulated::record;
use super::world::{World, facts, pod, secs, settings, subnet};
use crate::{Effects, EniRecord, Entry, Event};

#[test]
fn a_new_node_writes_nothing_before_it_decides_something() {
    assert!(World::small().journal.is_empty());
}

#[test]
fn a_step_that_changes_nothing_writes_nothing() {
    let mut w = World::small();
    w.settle();
    for restarted in [false, true] {
        let mut out = Effects::default();
        w.ipam.step(w.now, Event::Tick, &mut out);
        assert!(out.records.is_empty(), "restarted: {restarted}: {:?}", out.records);
        w.crash();
        w.settle();
    }
}

#[test]
fn a_number_of_a_call_or_an_eni_is_not_used_again_after_a_restart() {
    let mut w = World::small();
    w.settle();
    w.step(Event::Uninstall);
    w.pass(secs(100));
    assert!(w.uninstalled);
    let before = w.ipam.counters;
    w.crash();
    assert_eq!(w.ipam.counters, before);
}

#[test]
fn what_goes_after_a_restart_goes_from_the_journal_too() {
    let mut w = World::with(settings(), facts(4, 10, Families::V4));
    w.settle();
    let p = pod("x", "ux");
    w.admit(0, &p);
    w.settle();
    w.add("c1", &p);
    w.crash();
    w.settle();
    w.del("c1");
    w.kubelet.clear();
    w.pass(secs(5));
    w.step(Event::Uninstall);
    w.pass(secs(100));
    let left: Vec<_> = w.journal.keys().collect();
    assert_eq!(left, ["counters"]);
}

/// What a slow clock makes of the ends of leases is not worth a commit with each step.
#[test]
fn a_clock_that_drifts_writes_nothing() {
    let mut w = World::small();
    w.settle();
    let p = pod("db-0", "u1");
    w.identities.insert(p.key.clone(), tideway_model::LeaseTerms::default());
    w.add("c1", &p);
    w.del("c1");
    w.pass(secs(60));
    w.now.wall = w.now.wall.plus(secs(1));
    let mut out = Effects::default();
    w.ipam.step(w.now, Event::Tick, &mut out);
    assert!(out.records.is_empty(), "{:?}", out.records);
}

#[test]
fn a_device_that_another_pod_got_during_a_restart_comes_with_another_eni() {
    let mut w = World::with(settings(), facts(4, 10, Families::V4));
    w.settle();
    let (p, q) = (pod("x", "ux"), pod("y", "uy"));
    w.admit(0, &p);
    w.settle();
    let one = w.add("c1", &p);
    let former = w.granted(one).eni.clone();
    w.del("c1");
    w.kubelet.insert(SlotId(0), q.key.clone());
    w.crash();
    w.settle();
    let two = w.add("c2", &q);
    w.pass(secs(5));
    assert_ne!(w.granted(two).eni, former);
}

#[test]
fn a_device_that_only_the_kubelets_list_tells_of_gets_its_eni() {
    let mut w = World::with(settings(), facts(4, 10, Families::V4));
    w.settle();
    w.kubelet.insert(SlotId(0), pod("x", "ux").key);
    w.see_devices();
    w.settle();
    assert_eq!(w.cloud.attached(), 3);
}

#[test]
fn lists_without_the_device_of_a_running_pod_take_neither_device_nor_eni() {
    let mut w = World::with(settings(), facts(4, 10, Families::V4));
    w.settle();
    let p = pod("x", "ux");
    w.admit(0, &p);
    w.settle();
    w.add("c1", &p);
    w.kubelet.clear();
    for _ in 0..3 {
        w.advance(secs(31));
        w.see_devices();
    }
    assert!(w.journal.contains_key("device/0"));
    let leaves = |e: &crate::EniBook| e.state == EniState::Draining;
    assert!(!w.ipam.books(w.now).enis.iter().any(leaves));
}

/// The subnet is not in the configuration any more.
#[test]
fn an_eni_of_a_subnet_that_is_not_named_gives_no_address_after_a_restart() {
    let mut w = World::small();
    let r = EniRecord { subnet: "vsw-9".try_into().unwrap(), ..record(1, &[1, 2]) };
    let entry = Entry::Eni(Box::new(r));
    w.journal = [(entry.key(), serde_json::to_vec(&entry).unwrap())].into();
    w.crash();
    assert_eq!(w.ipam.books(w.now).enis[0].state, EniState::Detaching);
}

#[test]
fn an_eni_is_prepared_with_the_gateways_of_its_own_subnet() {
    let mut w = World::small();
    w.facts.subnets = vec![subnet(2), subnet(1)];
    let entry = Entry::Eni(Box::new(record(1, &[1, 2])));
    w.journal = [(entry.key(), serde_json::to_vec(&entry).unwrap())].into();
    w.crash();
    let told: Vec<_> = w.prepare.iter().map(|eni| eni.subnet.clone()).collect();
    assert_eq!(told, [subnet(1)]);
}

/// A single one of its addresses stays elsewhere on the ENI.
#[test]
fn a_prefix_that_leaves_as_a_whole_does_so_after_a_restart() {
    let prefix: ipnet::IpNet = "10.2.0.16/28".parse().unwrap();
    let own: std::collections::BTreeSet<_> = crate::prefix_hosts(&prefix).collect();
    let mut r = record(1, &[1]);
    r.addresses.extend(&own);
    r.releasing = own;
    r.prefixes = [prefix].into();
    let eni = crate::eni::Eni::from_record(r);
    assert_eq!(eni.releasing_prefixes(tideway_model::Family::V4), [prefix]);
}

/// Of an IPv6 prefix the cloud shows no single addresses: those that pods have come from the kernel.
#[test]
fn a_pods_address_of_an_ipv6_prefix_is_within_it_in_rebuilt_books() {
    let prefix: ipnet::IpNet = "2001:db8:0:0:1::/80".parse().unwrap();
    let mut r = record(1, &[1, 2]);
    r.addresses.insert("2001:db8:0:0:1::1".parse().unwrap());
    r.prefixes = [prefix].into();
    let ips = [super::simulated::ip(2), "2001:db8:0:0:1::7".parse().unwrap()];
    let addresses = tideway_model::PodAddresses::from_ips(ips);
    let pod = tideway_model::Attachment { addresses, ..shared_pod(1, 2) };
    let ipam = restored(facts(4, 5, Families::Dual), keyed([eni(r), attachment(pod)])).unwrap();
    assert_eq!(ipam.enis[&1].count(tideway_model::Family::V6), 1);
}

/// The commit that ended it was lost with its container's last moment.
#[test]
fn a_claimed_lease_of_a_container_that_is_not_there_is_over_after_a_restart() {
    let pod = shared_pod(1, 1).pod.key;
    let lease = crate::LeaseRecord {
        pod: pod.clone(),
        eni: 1,
        addresses: tideway_model::PodAddresses::from_ips([super::simulated::ip(3)]),
        terms: tideway_model::LeaseTerms::default(),
        until: None,
    };
    let entries = keyed([
        eni(record(1, &[1, 2, 3])),
        attachment(shared_pod(1, 1)),
        Entry::Lease(Box::new(lease)),
    ]);
    let ipam = restored(facts(4, 5, Families::V4), entries).unwrap();
    assert!(ipam.leases.map[&pod].until.is_some());
}

#[test]
fn an_eni_that_was_given_up_before_its_create_goes_from_the_journal_with_the_first_step() {
    let mut w = World::small();
    let planned = EniRecord {
        id: None,
        mac: None,
        state: EniState::Creating,
        attached: false,
        leaving: true,
        ..record(7, &[])
    };
    let entry = Entry::Eni(Box::new(planned));
    w.journal = [(entry.key(), serde_json::to_vec(&entry).unwrap())].into();
    w.crash();
    assert!(!w.journal.contains_key("eni/7"));
}

//! Exclusive pods: the kubelet's word, and nothing else.

use super::world::{World, facts, pod, secs, settings};
use crate::{BoundPod, Event};
use tideway_model::{Cause, Families, Mode, PodRef, SlotId};

fn warm() -> World {
    let mut w = World::with(settings(), facts(4, 10, Families::Dual));
    w.settle();
    w
}

/// A pod has the first device, and its ENI is there.
fn admitted() -> (World, PodRef) {
    let (mut w, p) = (warm(), pod("x", "ux"));
    w.admit(0, &p);
    w.settle();
    (w, p)
}

#[test]
fn allocate_starts_the_eni_before_the_add_comes() {
    let (mut w, p) = admitted();
    assert_eq!(w.cloud.attached(), 3);
    let id = w.add("c1", &p);
    let a = w.granted(id);
    assert_eq!(a.mode, Mode::Exclusive);
    assert_eq!(a.exclusive.as_ref().unwrap().slot, SlotId(0));
    assert!(a.addresses.v4.is_some() && a.addresses.v6.is_some());
    let view = &w.cloud.enis[&a.eni];
    assert_eq!(a.addresses.v4.map(std::net::IpAddr::V4), view.primary_ip);
}

#[test]
fn an_add_waits_for_the_eni_and_never_takes_a_shared_address_instead() {
    let mut w = warm();
    let p = pod("x", "ux");
    w.admit(0, &p);
    let id = w.add("c1", &p);
    assert!(w.waits(id));
    w.settle();
    assert_eq!(w.granted(id).mode, Mode::Exclusive);
}

#[test]
fn a_pod_without_a_device_never_gets_an_eni_whatever_it_says() {
    let mut w = warm();
    w.admit(0, &pod("x", "ux"));
    let id = w.add("c1", &pod("liar", "ul"));
    assert_eq!(w.granted(id).mode, Mode::Veth);
}

#[test]
fn a_killed_sandbox_comes_back_to_the_same_eni_and_address_without_a_second_allocate() {
    let (mut w, p) = admitted();
    let one = w.add("c1", &p);
    let first = w.granted(one).clone();
    w.del("c1");
    w.settle();
    w.pass(secs(300));
    let two = w.add("c2", &p);
    w.settle();
    assert_eq!((&w.granted(two).eni, w.granted(two).addresses), (&first.eni, first.addresses));
}

#[test]
fn the_same_holds_across_a_crash() {
    let (mut w, p) = admitted();
    let one = w.add("c1", &p);
    let first = w.granted(one).clone();
    w.del("c1");
    w.crash();
    w.settle();
    let two = w.add("c2", &p);
    w.settle();
    assert_eq!((&w.granted(two).eni, w.granted(two).addresses), (&first.eni, first.addresses));
}

#[test]
fn a_restart_between_allocate_and_add_keeps_the_eni() {
    let (mut w, p) = admitted();
    let created = w.calls("Create");
    w.crash();
    w.settle();
    let id = w.add("c1", &p);
    w.settle();
    assert_eq!(w.granted(id).mode, Mode::Exclusive);
    assert_eq!(w.calls("Create"), created);
}

#[test]
fn a_new_container_waits_while_the_old_one_has_the_eni() {
    let (mut w, p) = admitted();
    w.add("c1", &p);
    let two = w.add("c2", &p);
    assert!(w.waits(two));
    let why = w.ipam.books(w.now).waiting[0].why.clone();
    assert_eq!(why.cause, Cause::FormerContainer, "{why}");
    w.del("c1");
    w.settle();
    assert_eq!(w.granted(two).mode, Mode::Exclusive);
}

#[test]
fn the_next_pod_on_a_device_gets_another_eni_and_the_old_address_rests() {
    let (mut w, p) = admitted();
    let one = w.add("c1", &p);
    let old = w.granted(one).clone();
    w.del("c1");
    w.kubelet.clear();
    w.settle();
    w.pass(secs(1));
    let q = pod("y", "uy");
    w.admit(0, &q);
    let two = w.add("c2", &q);
    w.settle();
    assert_ne!(w.granted(two).eni, old.eni);
    let known = w.cloud.enis.contains_key(&old.eni);
    assert!(known, "its addresses rest before they go back to the VPC");
    w.pass(settings().late_effect);
    assert!(!w.cloud.enis.contains_key(&old.eni));
}

#[test]
fn a_namesake_with_another_uid_is_another_pod() {
    let mut w = warm();
    let p = pod("x-0", "u1");
    w.admit(0, &p);
    w.settle();
    let one = w.add("c1", &p);
    let old = w.granted(one).clone();
    w.del("c1");
    let q = pod("x-0", "u2");
    let two = w.add("c2", &q);
    w.settle();
    w.pass(secs(5));
    assert_ne!(w.granted(two).eni, old.eni);
}

#[test]
fn one_list_without_the_device_takes_nothing_from_a_running_pod() {
    let (mut w, p) = admitted();
    let id = w.add("c1", &p);
    let eni = w.granted(id).eni.clone();
    w.kubelet.clear();
    for _ in 0..10 {
        w.advance(secs(20));
        w.see_devices();
    }
    assert!(w.cloud.enis.contains_key(&eni));
    assert_eq!(w.ipam.attachments().count(), 1);
}

#[test]
fn an_allocation_that_finds_no_pod_is_cancelled_by_two_lists() {
    let mut w = warm();
    w.admit(0, &pod("x", "ux"));
    w.kubelet.clear();
    w.settle();
    assert_eq!(w.cloud.attached(), 3);
    w.pass(secs(25));
    assert_eq!(w.cloud.attached(), 3, "one list is not enough");
    w.pass(secs(60));
    assert_eq!(w.cloud.attached(), 2);
}

#[test]
fn fifty_shared_pods_are_served_while_an_allocate_is_unmatched() {
    let mut w = World::with(settings(), facts(8, 20, Families::V4));
    w.settle();
    w.admit(0, &pod("x", "ux"));
    let ids: Vec<_> = (0..50)
        .map(|n| w.add(&format!("c{n}"), &pod(&format!("p{n}"), &format!("u{n}"))))
        .collect();
    w.pass(secs(10));
    assert!(ids.iter().all(|id| w.granted(*id).mode == Mode::Veth));
    assert!(w.ipam.needs_devices(&pod("z", "uz")));
}

#[test]
fn shared_pods_pay_for_no_list_when_nothing_is_open() {
    let (mut w, p) = admitted();
    w.add("c1", &p);
    assert!(!w.ipam.needs_devices(&pod("z", "uz")));
    assert!(w.ipam.needs_devices(&p));
    w.step(Event::KubeletRestarted);
    assert!(w.ipam.needs_devices(&pod("z", "uz")));
}

#[test]
fn a_device_that_moved_to_another_pod_is_not_given_to_the_one_that_still_waits() {
    let mut w = warm();
    let (p, q) = (pod("x", "ux"), pod("y", "uy"));
    w.hold_cloud = true;
    w.admit(0, &p);
    let first = w.add("c1", &p);
    w.kubelet.clear();
    w.advance(secs(1));
    w.admit(0, &q);
    let second = w.add("c2", &q);
    w.hold_cloud = false;
    w.settle();
    assert!(w.waits(first));
    assert_eq!(w.granted(second).mode, Mode::Exclusive);
}

#[test]
fn the_next_eni_is_not_attached_before_the_former_one_has_left_its_slot() {
    let mut w = World::with(settings(), facts(3, 10, Families::V4));
    w.settle();
    let (p, q) = (pod("x", "ux"), pod("y", "uy"));
    w.admit(0, &p);
    w.settle();
    w.add("c1", &p);
    w.pass(settings().late_effect);
    w.del("c1");
    w.kubelet.clear();
    // The link of the former pod is not back yet: its ENI cannot be detached.
    let link = std::mem::take(&mut w.quiesce);
    w.advance(secs(1));
    w.see_devices();
    let more = std::mem::take(&mut w.quiesce);
    w.admit(0, &q);
    let id = w.add("c2", &q);
    w.settle();
    assert_eq!((w.calls("Create"), w.calls("Attach")), (3, 2));
    assert!(w.waits(id));
    let why = w.ipam.books(w.now).waiting[0].why.clone();
    assert_eq!(why.cause, Cause::NoSlot, "{why}");
    w.quiesce.extend(link);
    w.quiesce.extend(more);
    w.settle();
    assert_eq!(w.granted(id).mode, Mode::Exclusive);
}

#[test]
fn one_list_without_the_device_takes_nothing_from_a_pod_that_waits() {
    let mut w = warm();
    let p = pod("x", "ux");
    w.hold_cloud = true;
    w.admit(0, &p);
    w.add("c1", &p);
    w.kubelet.clear();
    w.advance(secs(1));
    w.see_devices();
    assert!(w.journal.contains_key("device/0"));
    w.advance(secs(31));
    w.see_devices();
    assert!(!w.journal.contains_key("device/0"), "two lists, settle apart");
}

#[test]
fn two_devices_in_one_pod_are_refused() {
    let mut w = warm();
    let p = pod("x", "ux");
    w.admit(0, &p);
    w.admit(1, &p);
    let id = w.add("c1", &p);
    assert_eq!(w.refused(id).why.cause.code(), 7);
}

#[test]
fn a_pod_that_asks_for_a_device_and_holds_none_is_refused_with_the_cause() {
    let mut w = warm();
    let p = pod("x", "ux");
    let bound = BoundPod { pod: p.clone(), wants_eni: true, host_network: false, lease: None };
    w.step(Event::PodsBound(vec![bound]));
    let id = w.add("c1", &p);
    w.settle();
    assert_eq!(w.refused(id).why.cause, Cause::NoDevice);
    assert!(w.refused(id).why.text.contains("not registered"));
}

/// What a pod asks for stands in its object only, so nobody knows it; its network is not cut off when it is told later.
#[test]
fn without_the_pod_watch_a_pod_that_asks_for_a_device_and_holds_none_gets_a_shared_address_and_keeps_it()
 {
    let mut w = warm();
    let p = pod("x", "ux");
    let id = w.add("c1", &p);
    w.settle();
    let granted = w.granted(id).clone();
    assert_eq!(granted.mode, Mode::Veth);
    let bound = BoundPod { pod: p.clone(), wants_eni: true, host_network: false, lease: None };
    w.step(Event::PodsBound(vec![bound]));
    w.settle();
    let again = w.add("c1", &p);
    w.settle();
    assert_eq!(*w.granted(again), granted);
}

#[test]
fn without_a_list_no_pod_gets_anything() {
    let mut w = World::small();
    while w.looks_wanted > 0 || !w.flying.is_empty() || !w.prepare.is_empty() {
        w.looks_wanted = w.looks_wanted.min(1);
        if w.looks_wanted > 0 {
            w.see_cloud();
        } else if w.flying.is_empty() {
            w.answer_prepare(0);
        } else {
            w.answer_cloud(0);
        }
    }
    let id = w.next_id();
    let event = w.add_event(id, "c1", &pod("a", "u1"));
    w.step(event);
    assert!(w.waits(id));
    w.see_devices();
    assert!(!w.waits(id));
}

#[test]
fn the_shared_pool_withdraws_a_device_before_it_takes_its_slot() {
    let mut w = World::with(settings(), facts(4, 4, Families::V4));
    w.settle();
    let healthy = |w: &World| w.devices.iter().filter(|d| d.healthy).count();
    assert_eq!(healthy(&w), 2);
    w.come(0..3);
    assert_eq!(healthy(&w), 1, "withdrawn first");
    assert_eq!(w.calls("Create"), 1, "not taken yet");
    w.pass(secs(3));
    assert_eq!(w.calls("Create"), 2);
    assert_eq!(healthy(&w), 1);
}

#[test]
fn a_pool_that_wants_several_enis_withdraws_their_devices_at_once() {
    let mut w = World::with(settings(), facts(9, 4, Families::V4));
    w.settle();
    let (made, offered) = (w.calls("Create"), w.devices.iter().filter(|d| d.healthy).count());
    w.come(0..16);
    assert_eq!(w.calls("Create"), made, "not taken yet");
    let healthy = w.devices.iter().filter(|d| d.healthy).count();
    assert!(healthy + 3 <= offered, "{healthy} of {offered}");
    // One withdrawal and one list.
    w.pass(secs(2));
    assert!(w.calls("Create") >= made + 3, "{} of {made}", w.calls("Create"));
}

#[test]
fn an_allocate_during_the_withdrawal_wins() {
    let mut w = World::with(settings(), facts(3, 4, Families::V4));
    w.settle();
    w.come(0..3);
    assert!(!w.devices[0].healthy);
    let p = pod("x", "ux");
    w.kubelet.insert(SlotId(0), p.key.clone());
    w.step(Event::Allocated { slot: SlotId(0) });
    assert!(w.devices[0].healthy, "a held device is always listed healthy");
    let id = w.add("cx", &p);
    w.pass(secs(20));
    assert_eq!(w.granted(id).mode, Mode::Exclusive);
}

#[test]
fn the_eni_of_a_device_leaves_only_when_its_link_is_back_from_the_pod() {
    let (mut w, p) = admitted();
    w.add("c1", &p);
    w.pass(settings().late_effect);
    w.del("c1");
    w.kubelet.clear();
    w.advance(secs(1));
    w.see_devices();
    assert_eq!(w.calls("Detach"), 0);
    assert!(!w.quiesce.is_empty());
    w.settle();
    assert_eq!(w.calls("Detach"), 1);
}

//! When the kubelet is asked who holds which device, and what an answer says that is older than the question.

use std::collections::BTreeMap;

use tideway_model::{Families, Mode, PodRef, SlotId};

use super::world::{World, facts, key, pod, secs, settings};
use crate::{BoundPod, Event};

fn warm() -> World {
    let mut w = World::with(settings(), facts(4, 10, Families::V4));
    w.settle();
    w
}

/// A pod runs with the first device.
fn running() -> (World, PodRef) {
    let (mut w, p) = (warm(), pod("x", "ux"));
    w.admit(0, &p);
    w.settle();
    w.add("c1", &p);
    (w, p)
}

fn offered(w: &World) -> Vec<bool> {
    w.devices.iter().map(|d| d.healthy).collect()
}

fn is_owned(w: &World) -> bool {
    w.journal.contains_key("device/0")
}

#[test]
fn an_add_that_comes_long_after_its_allocate_is_served() {
    let (mut w, p) = (warm(), pod("x", "ux"));
    w.admit(0, &p);
    w.settle();
    w.advance(secs(1));
    let id = w.add("c1", &p);
    assert_eq!(w.granted(id).mode, Mode::Exclusive);
}

#[test]
fn a_pod_that_asks_for_a_device_keeps_no_other_pod_from_its_address() {
    let mut w = warm();
    let bound = |name: &str, wants_eni| {
        let pod = pod(name, "u1");
        BoundPod { pod, wants_eni, host_network: false, lease: None }
    };
    w.step(Event::PodsBound(vec![bound("x", true), bound("a", false)]));
    let id = w.add("c1", &pod("a", "u1"));
    assert_eq!(w.granted(id).mode, Mode::Veth);
}

#[test]
fn a_pod_without_a_device_is_refused_only_by_a_list_from_after_its_question() {
    let mut w = warm();
    let p = pod("x", "ux");
    let bound = BoundPod { pod: p.clone(), wants_eni: true, host_network: false, lease: None };
    w.step(Event::PodsBound(vec![bound]));
    w.advance(secs(5));
    let id = w.next_id();
    let event = w.add_event(id, "c1", &p);
    w.step(event);
    assert!(w.waits(id) && w.device_looks_wanted == 1, "the last list is older");
    w.kubelet.insert(SlotId(0), p.key.clone());
    w.pass(secs(1));
    assert_eq!(w.granted(id).mode, Mode::Exclusive);
}

#[test]
fn a_list_of_a_kubelet_that_is_gone_says_nothing() {
    let mut w = warm();
    w.advance(secs(2));
    w.step(Event::KubeletRestarted);
    let begun = w.now.boot.saturating_sub(secs(1));
    w.step(Event::DevicesSeen { begun, holders: BTreeMap::new() });
    assert!(w.ipam.needs_devices(&pod("a", "u1")));
}

#[test]
fn the_kubelet_is_asked_again_until_the_device_of_an_ended_pod_is_free() {
    let (mut w, _p) = running();
    w.pass(secs(5));
    w.del("c1");
    w.pass(secs(5));
    assert!(is_owned(&w), "the pod is terminating and the kubelet still lists it");
    w.kubelet.clear();
    w.pass(secs(15));
    assert!(!is_owned(&w));
}

#[test]
fn a_list_from_the_moment_of_the_del_does_not_free_the_device() {
    let (mut w, _p) = running();
    w.del("c1");
    w.kubelet.clear();
    w.see_devices();
    assert!(is_owned(&w));
    w.advance(secs(1));
    w.see_devices();
    assert!(!is_owned(&w));
}

#[test]
fn one_list_without_the_device_does_not_cancel_its_allocation() {
    let mut w = warm();
    w.admit(0, &pod("x", "ux"));
    w.kubelet.clear();
    w.advance(secs(1));
    w.see_devices();
    assert_eq!(w.counts().exclusive.assigned, 1);
    w.advance(secs(31));
    w.see_devices();
    assert_eq!(w.counts().exclusive.assigned, 0);
}

#[test]
fn the_device_of_a_running_pod_makes_no_other_pod_wait_for_a_list() {
    let (mut w, _p) = running();
    w.advance(secs(1));
    w.see_devices();
    assert!(!w.ipam.needs_devices(&pod("z", "uz")));
}

#[test]
fn the_device_of_a_running_pod_is_held_before_the_first_list_after_a_restart() {
    let (mut w, _p) = running();
    w.crash();
    assert_eq!(w.counts().exclusive.assigned, 1);
}

#[test]
fn without_uids_a_namesake_on_a_used_device_gets_another_eni() {
    let mut w = warm();
    let p = PodRef { uid: None, ..pod("x", "ux") };
    w.admit(0, &p);
    w.settle();
    let one = w.add("c1", &p);
    let former = w.granted(one).eni.clone();
    w.del("c1");
    let two = w.add("c2", &p);
    w.pass(secs(5));
    assert_ne!(w.granted(two).eni, former);
    assert!(w.kernel.contains_key(&key("c2")));
}

#[test]
fn a_withdrawn_device_is_asked_about_when_a_list_can_tell_and_not_before() {
    let mut w = World::with(settings(), facts(4, 4, Families::V4));
    w.settle();
    w.come(0..3);
    assert_eq!(offered(&w), [true, false]);
    assert_eq!(w.device_looks_wanted, 0, "the kubelet does not know yet");
    assert_eq!(w.ipam.next_deadline(), Some(w.now.boot + secs(1)));
    w.see_devices();
    assert_eq!(w.flying.len(), 0, "a pod may still get it");
    w.advance(secs(5));
    w.tick();
    assert_eq!(w.device_looks_wanted, 1);
    w.see_devices();
    assert_eq!(w.flying.len(), 1);
}

#[test]
fn a_reserved_slot_is_taken_without_a_withdrawal_although_a_stranger_has_another() {
    let mut w =
        World::with(crate::Settings { min_shared: 2, ..settings() }, facts(5, 4, Families::V4));
    let mut foreign = w.cloud.views()[0].clone();
    foreign.id = "eni-foreign".try_into().unwrap();
    foreign.primary = false;
    w.cloud.enis.insert(foreign.id.clone(), foreign);
    w.settle();
    assert_eq!(offered(&w), [true, false], "one place is the stranger's");
    w.come(0..3);
    w.settle();
    assert_eq!((w.calls("Create"), offered(&w)), (2, vec![true, false]));
}

#[test]
fn a_node_whose_slots_are_all_taken_offers_no_device() {
    let mut w = World::with(settings(), facts(4, 4, Families::V4));
    w.settle();
    w.admit(0, &pod("x", "ux"));
    w.come(0..3);
    w.pass(secs(5));
    assert_eq!((w.cloud.attached(), offered(&w)), (4, vec![true, false]));
}

#[test]
fn a_namesake_of_a_pod_with_a_device_waits_for_a_list_although_the_last_one_was_empty() {
    let (mut w, p) = running();
    w.kubelet.clear();
    w.advance(secs(1));
    w.see_devices();
    assert!(w.ipam.needs_devices(&pod("x", "another")));
    assert!(w.ipam.needs_devices(&PodRef { uid: None, ..p }));
    assert!(!w.ipam.needs_devices(&pod("z", "uz")));
}

#[test]
fn a_device_that_is_given_out_again_under_a_running_pod_is_settled_by_the_next_list() {
    let (mut w, _p) = running();
    w.step(Event::Allocated { slot: SlotId(0) });
    w.advance(secs(1));
    w.see_devices();
    assert!(!w.ipam.needs_devices(&pod("z", "uz")));
}

#[test]
fn an_uninstall_leaves_the_eni_of_a_running_pod_as_it_is() {
    let (mut w, _p) = running();
    w.step(Event::Uninstall);
    let states: Vec<_> = w
        .ipam
        .books(w.now)
        .enis
        .into_iter()
        .filter(|e| e.usage != crate::Use::Shared)
        .map(|e| e.state)
        .collect();
    assert_eq!(states, [tideway_model::EniState::Ready]);
}

#[test]
fn the_kubelet_is_asked_once_while_its_answer_is_on_the_way() {
    let mut w = warm();
    w.step(Event::KubeletRestarted);
    for (wait, asked) in [(0, 1), (1, 1), (3, 1), (1, 2)] {
        w.advance(secs(wait));
        w.tick();
        assert_eq!(w.device_looks_wanted, asked, "{wait}");
    }
}

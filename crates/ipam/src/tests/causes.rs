//! What people are told while a pod waits: what stands in its way, not something else that they would mend in vain.

use tideway_cloud::ErrorKind;
use tideway_model::{Cause, Families, Why};

use super::cloud::Fate;
use super::world::{World, facts, pod, secs, settings};
use crate::{AddressState, Event};

fn why(w: &World) -> Why {
    w.ipam.books(w.now).waiting[0].why.clone()
}

/// Whoever waits is told this cause, in a text with these words.
fn told(w: &World, cause: Cause, words: &str) {
    let why = why(w);
    assert!(why.cause == cause && why.text.contains(words), "{:?}: {why}", why.cause);
}

fn warm() -> World {
    let mut w = World::with(settings(), facts(4, 10, Families::V4));
    w.settle();
    w
}

#[test]
fn a_pod_that_waits_for_a_call_is_told_so_and_not_that_the_node_is_full() {
    let mut w = World::small();
    w.hold_cloud = true;
    w.settle();
    w.add("c1", &pod("a", "u1"));
    told(&w, Cause::OnTheWay, "waits for the cloud to create");
    w.answer_cloud(0);
    told(&w, Cause::OnTheWay, "waits for the cloud to attach eni-");
    w.answer_cloud(0);
    told(&w, Cause::OnTheWay, "is prepared on the host");
    w.settle();
    assert!(w.ipam.books(w.now).waiting.is_empty());
}

#[test]
fn a_pod_that_waits_for_the_first_look_at_the_cloud_is_not_told_that_the_node_is_full() {
    let mut w = World::small();
    w.add("c1", &pod("a", "u1"));
    told(&w, Cause::CloudUnseen, "which ENIs the node has");
}

#[test]
fn a_pod_that_waits_for_more_addresses_of_an_eni_is_told_so() {
    let mut w = World::with(settings(), facts(2, 10, Families::V4));
    w.settle();
    w.hold_cloud = true;
    w.come(0..7);
    told(&w, Cause::OnTheWay, "to assign addresses to eni-");
}

#[test]
fn a_pod_whose_own_eni_cannot_be_created_is_told_what_the_cloud_said() {
    let mut w = warm();
    w.fates = vec![Fate::Refused(ErrorKind::Denied("ecs:CreateNetworkInterface".into()))];
    let p = pod("x", "ux");
    w.admit(0, &p);
    w.settle();
    w.add("c1", &p);
    told(&w, Cause::Denied, "ecs:CreateNetworkInterface");
}

#[test]
fn a_pod_behind_a_former_container_is_told_whose_it_is() {
    let mut w = warm();
    let p = pod("x", "ux");
    w.admit(0, &p);
    w.settle();
    w.add("c1", &p);
    w.add("c2", &p);
    told(&w, Cause::FormerContainer, "a former container of pod ns/x");
}

#[test]
fn a_pod_whose_device_went_to_another_one_is_told_so() {
    let mut w = warm();
    let p = pod("x", "ux");
    w.hold_cloud = true;
    w.admit(0, &p);
    w.add("c1", &p);
    w.kubelet.clear();
    w.advance(secs(1));
    w.admit(0, &pod("y", "uy"));
    w.see_devices();
    told(&w, Cause::DeviceMoved, "slot-0 to another pod");
}

#[test]
fn a_full_node_without_leases_is_not_told_that_leases_fill_it() {
    let mut w = World::with(settings(), facts(2, 2, Families::V4));
    w.settle();
    w.come(0..3);
    told(&w, Cause::NoAddress, "(0 rest)");
    w.del("c0");
    told(&w, Cause::NoAddress, "(1 rest)");
}

#[test]
fn a_resting_address_is_shown_as_quiet_after_its_flush_and_not_before() {
    let mut w = warm();
    w.add("c1", &pod("a", "u1"));
    w.del("c1");
    let quiet = |w: &World| {
        let books = w.ipam.books(w.now);
        let all = books.enis.into_iter().flat_map(|e| e.addresses);
        let rests = all.filter_map(|(_ip, state)| match state {
            AddressState::Cooling { quiet, .. } => Some(quiet),
            AddressState::Free
            | AddressState::Assigned(_)
            | AddressState::Leased
            | AddressState::Releasing
            | AddressState::Lost
            | AddressState::Reserved => None,
        });
        rests.collect::<Vec<_>>()
    };
    assert_eq!(quiet(&w), [false]);
    w.settle();
    assert_eq!(quiet(&w), [true]);
}

#[test]
fn a_preparation_that_failed_before_it_worked_is_no_cause_any_more() {
    let mut w = World::with(settings(), facts(2, 10, Families::V4));
    w.hold_cloud = true;
    w.settle();
    w.answer_cloud(0);
    w.answer_cloud(0);
    let eni = w.prepare.remove(0).id;
    w.step(Event::EniPrepared { eni, result: Err("no link with this MAC".into()) });
    w.pass(secs(5));
    w.come(0..7);
    told(&w, Cause::OnTheWay, "to assign addresses to eni-");
}

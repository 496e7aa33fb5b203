//! Calls whose answer is lost or a refusal: which look settles which call, and what is sent then.

use std::net::IpAddr;

use tideway_cloud::{CloudOp, EniStatus, EniView, ErrorKind, OpAnswer};
use tideway_model::{EniId, EniState, Families, InstanceId};

use super::cloud::Fate;
use super::world::{World, facts, pod, secs, settings, subnet};
use crate::{CALL_LIMIT, Command, Event, Settings, Urgency};

impl World {
    /// The cloud shows everything as it is, but for this ENI.
    fn shows(&mut self, id: &EniId, change: impl Fn(&mut EniView)) {
        self.advance(secs(1));
        let mut enis = self.cloud.views();
        enis.iter_mut().filter(|v| v.id == *id).for_each(change);
        self.step(Event::CloudSeen { begun: self.now.boot, enis });
    }

    fn state(&self, id: &EniId) -> Option<EniState> {
        let books = self.ipam.books(self.now);
        books.enis.into_iter().find(|e| e.id.as_ref() == Some(id)).map(|e| e.state)
    }

    /// The call in flight, which must be the only one.
    fn call(&self) -> &CloudOp {
        assert_eq!(self.flying.len(), 1, "{:?}", self.flying);
        &self.flying[0].1
    }

    fn answer(&mut self, fate: Fate) {
        self.fates = vec![fate];
        self.answer_cloud(0);
    }

    fn sent(&self, what: &str) -> Vec<(&CloudOp, Urgency)> {
        let mut calls = Vec::new();
        for command in &self.commands {
            if let Command::Cloud { op, urgency, .. } = command
                && format!("{op:?}").starts_with(what)
            {
                calls.push((op, *urgency));
            }
        }
        calls
    }
}

/// An Attach is in flight, and nobody answers it.
fn attaching() -> (World, EniId) {
    let mut w = World::small();
    w.hold_cloud = true;
    w.settle();
    w.answer_cloud(0);
    let id = w.call().eni().expect("an Attach").clone();
    (w, id)
}

/// A Detach of an ENI that has been attached for long is in flight, and nobody answers it.
fn detaching() -> (World, EniId) {
    let mut w = World::with(settings(), facts(4, 10, Families::V4));
    w.settle();
    w.admit(0, &pod("x", "ux"));
    w.pass(settings().late_effect);
    w.kubelet.clear();
    w.hold_cloud = true;
    w.pass(secs(60));
    assert!(matches!(w.call(), CloudOp::Detach { .. }));
    let id = w.call().eni().expect("it names its ENI").clone();
    (w, id)
}

/// A Delete is in flight, and nobody answers it.
fn deleting() -> (World, EniId) {
    let (mut w, id) = detaching();
    w.answer_cloud(0);
    w.pass(settings().cooldown);
    assert!(matches!(w.call(), CloudOp::Delete { .. }));
    (w, id)
}

#[test]
fn only_an_eni_in_use_on_this_node_ends_a_lost_attach() {
    let (mut w, id) = attaching();
    w.answer(Fate::LostCall);
    let (own, other) = (w.facts.instance.clone(), InstanceId::try_from("i-2").unwrap());
    let pictures = [
        (EniStatus::Available, None),
        (EniStatus::Attaching, Some(own.clone())),
        (EniStatus::InUse, Some(other)),
    ];
    for (status, instance) in pictures {
        w.shows(&id, |v| (v.status, v.instance) = (status, instance.clone()));
        assert!(w.prepare.is_empty() && w.flying.is_empty(), "{status:?}");
    }
    w.shows(&id, |v| (v.status, v.instance) = (EniStatus::InUse, Some(own.clone())));
    assert_eq!(w.prepare.len(), 1, "seen is seen");
}

#[test]
fn an_eni_that_is_still_attached_or_about_to_leave_does_not_end_a_lost_detach() {
    let (mut w, id) = detaching();
    w.answer(Fate::LostCall);
    w.shows(&id, |_| {});
    w.shows(&id, |v| (v.status, v.instance) = (EniStatus::Detaching, None));
    assert_eq!((w.state(&id), w.flying.len()), (Some(EniState::Detaching), 0));
    w.pass(secs(100));
    assert!(matches!(w.call(), CloudOp::Detach { .. }), "it is sent again");
}

#[test]
fn one_look_that_shows_the_eni_detached_ends_a_lost_detach() {
    let (mut w, id) = detaching();
    w.answer(Fate::LostAnswer);
    w.shows(&id, |_| {});
    assert_eq!(w.state(&id), Some(EniState::Deleting));
}

#[test]
fn the_detach_of_an_eni_that_is_no_more_is_not_sent_again() {
    let (mut w, id) = detaching();
    w.answer(Fate::LostCall);
    w.cloud.enis.remove(&id);
    w.pass(secs(100));
    assert_eq!(w.sent("Detach").len(), 1);
}

#[test]
fn a_picture_from_before_the_attach_does_not_end_a_detach_after_a_restart() {
    let (mut w, id) = detaching();
    w.crash_fate = 2;
    w.crash();
    w.shows(&id, |v| (v.status, v.instance) = (EniStatus::Available, None));
    assert_eq!((w.state(&id), w.flying.len()), (Some(EniState::Detaching), 0));
}

#[test]
fn only_two_looks_without_the_eni_end_a_lost_delete() {
    let (mut w, id) = deleting();
    w.answer(Fate::LostCall);
    w.shows(&id, |_| {});
    assert_eq!((w.state(&id), w.flying.len()), (Some(EniState::Deleting), 0));
    w.pass(secs(100));
    assert!(matches!(w.call(), CloudOp::Delete { .. }), "it is sent again");
    w.answer(Fate::LostAnswer);
    w.shows(&id, |_| {});
    assert!(w.state(&id).is_some(), "one look may be older than the call");
    w.pass(secs(100));
    assert_eq!((w.state(&id), w.sent("Delete").len()), (None, 2));
}

#[test]
fn one_picture_does_not_count_twice() {
    let mut w = World::small();
    w.fates = vec![Fate::LostCall];
    w.hold_cloud = true;
    w.settle();
    w.answer_cloud(0);
    w.advance(secs(70));
    for (begun, sent) in [(secs(69), 0), (secs(69), 0), (secs(68), 0), (secs(70), 1)] {
        let begun = begun + secs(1000);
        w.step(Event::CloudSeen { begun, enis: w.cloud.views() });
        assert_eq!(w.flying.len(), sent, "{begun:?}");
    }
}

#[test]
fn a_create_that_nobody_saw_is_sent_again_with_its_token_while_that_lives() {
    for (down, same) in [(secs(0), true), (secs(500), true), (secs(700), false)] {
        let mut w = World::small();
        w.hold_cloud = true;
        w.settle();
        w.crash_fate = 2;
        w.advance(down);
        w.crash();
        w.pass(secs(70));
        let token = |(op, _): (&CloudOp, Urgency)| {
            let CloudOp::Create(create) = op else { panic!("{op:?}") };
            create.token.clone()
        };
        let tokens: Vec<_> = w.sent("Create").into_iter().map(token).collect();
        assert_eq!((tokens.len(), tokens[0] == tokens[1]), (2, same), "{down:?}: {tokens:?}");
    }
}

/// Five more pods than there are addresses; the call for more is in flight.
fn assigning() -> World {
    let mut w = World::with(settings(), facts(2, 30, Families::V4));
    w.settle();
    w.hold_cloud = true;
    w.come(0..6);
    assert!(matches!(w.call(), CloudOp::Assign { .. }));
    w
}

fn in_work(w: &World) -> bool {
    w.journal.keys().any(|key| key.starts_with("intent/"))
}

#[test]
fn one_look_ends_a_lost_assign_that_was_done_and_two_one_that_was_not() {
    for done in [true, false] {
        let mut w = assigning();
        w.answer(if done { Fate::LostAnswer } else { Fate::LostCall });
        w.advance(secs(1));
        w.see_cloud();
        assert_eq!(in_work(&w), !done);
        w.pass(secs(100));
        assert_eq!(w.sent("Assign").len(), if done { 1 } else { 2 });
    }
}

/// A pod's own ENI is not the one that the call is for.
#[test]
fn a_lost_assign_is_seen_beside_another_eni() {
    let mut w = World::with(settings(), facts(4, 30, Families::V4));
    w.settle();
    w.admit(0, &pod("x", "ux"));
    w.settle();
    w.hold_cloud = true;
    w.come(0..6);
    w.answer(Fate::LostAnswer);
    w.advance(secs(1));
    w.see_cloud();
    assert!(!in_work(&w));
}

#[test]
fn addresses_that_somebody_moved_from_another_eni_of_ours_are_no_effect_of_an_assign() {
    let mut w = World::with(settings(), facts(4, 10, Families::V4));
    w.settle();
    w.come(0..10);
    w.pass(secs(5));
    let ids: Vec<EniId> =
        w.cloud.enis.values().filter(|v| !v.primary).map(|v| v.id.clone()).collect();
    assert_eq!(ids.len(), 2, "the first one is full");
    w.hold_cloud = true;
    w.come(10..16);
    let CloudOp::Assign { eni: asked, count, .. } = w.call().clone() else { panic!("an Assign") };
    let giver = ids.iter().find(|id| **id != asked).unwrap().clone();
    w.answer(Fate::LostCall);
    let from = w.cloud.enis.get_mut(&giver).unwrap();
    let moved: Vec<IpAddr> = from.addresses.drain(1..=count.into()).collect();
    w.taken.extend(moved.iter().map(ToString::to_string));
    let strange: IpAddr = "10.9.9.9".parse().unwrap();
    w.cloud.enis.get_mut(&asked).unwrap().addresses.extend(moved.into_iter().chain([strange]));
    w.advance(secs(1));
    w.see_cloud();
    assert!(in_work(&w));
    w.pass(secs(200));
    w.see_cloud();
    let books = w.ipam.books(w.now);
    let own = books.enis.iter().find(|e| e.id.as_ref() == Some(&asked)).unwrap();
    assert!(own.addresses.iter().any(|(ip, _)| *ip == strange), "nobody else has it: {own:?}");
}

#[test]
fn one_look_ends_a_lost_assign_of_prefixes_that_was_done_and_two_one_that_was_not() {
    for done in [true, false] {
        let s = Settings { prefixes: true, use_primary_address: false, ..settings() };
        let mut w = World::with(s, facts(2, 8, Families::V4));
        w.settle();
        w.hold_cloud = true;
        w.come(0..16);
        assert!(matches!(w.call(), CloudOp::AssignPrefixes { .. }));
        w.answer(if done { Fate::LostAnswer } else { Fate::LostCall });
        w.advance(secs(1));
        w.see_cloud();
        assert_eq!(in_work(&w), !done);
        w.pass(secs(100));
        assert_eq!(w.sent("AssignPrefixes").len(), if done { 1 } else { 2 });
    }
}

#[test]
fn a_call_that_nobody_answers_is_of_unknown_outcome_in_the_end() {
    let mut w = assigning();
    w.flying.clear();
    w.pass(CALL_LIMIT + settings().late_effect + secs(10));
    assert_eq!(w.sent("Assign").len(), 2);
}

#[test]
fn an_answer_with_fewer_addresses_than_asked_for_is_looked_into() {
    let mut w = assigning();
    let (intent, op) = w.flying.remove(0);
    let CloudOp::Assign { eni, count, .. } = &op else { panic!("{op:?}") };
    assert!(*count > 1);
    let one = w.cloud.fresh(tideway_model::Family::V4);
    w.cloud.enis.get_mut(eni).unwrap().addresses.push(one);
    w.step(Event::CloudDone { intent, result: Ok(OpAnswer::Assigned(vec![one])) });
    assert_eq!(w.looks_wanted, 1);
    assert_eq!(w.flying.len(), 1, "the rest is asked for");
    let (intent, _) = w.flying.remove(0);
    w.step(Event::CloudDone { intent, result: Ok(OpAnswer::Assigned(Vec::new())) });
    assert!(w.flying.is_empty(), "nothing came: not at once again");
}

#[test]
fn an_answer_with_all_that_was_asked_for_costs_no_look() {
    let mut w = assigning();
    w.answer_cloud(0);
    assert_eq!(w.looks_wanted, 0);
}

#[test]
fn an_answer_with_fewer_prefixes_than_asked_for_is_looked_into() {
    let s = Settings { prefixes: true, use_primary_address: false, ..settings() };
    for part in [true, false] {
        let mut w = World::with(s.clone(), facts(2, 8, Families::V4));
        w.settle();
        w.hold_cloud = true;
        w.hold_cloud = true;
        w.come(0..70);
        w.answer_cloud(0);
        let (intent, op) = w.flying.remove(0);
        let mut answer = w.cloud.apply(&op);
        if let Ok(OpAnswer::AssignedPrefixes(prefixes)) = &mut answer
            && part
        {
            prefixes.truncate(1);
        }
        w.step(Event::CloudDone { intent, result: answer });
        assert_eq!(w.looks_wanted, u32::from(part));
    }
}

#[test]
fn a_refused_detach_is_sent_again_unless_the_cloud_does_not_know_the_eni() {
    let (mut w, id) = detaching();
    w.answer(Fate::Refused(ErrorKind::Unavailable));
    assert_eq!(w.state(&id), Some(EniState::Detaching));
    w.pass(secs(5));
    assert!(matches!(w.call(), CloudOp::Detach { .. }));
    w.answer(Fate::Refused(ErrorKind::NotFound));
    assert_eq!(w.state(&id), Some(EniState::Deleting));
}

#[test]
fn a_refused_create_is_not_tried_in_another_subnet_that_mends_nothing() {
    let facts =
        crate::NodeFacts { subnets: vec![subnet(1), subnet(2)], ..facts(3, 10, Families::V4) };
    let mut w = World::with(settings(), facts);
    w.fates = vec![Fate::Refused(ErrorKind::Unavailable)];
    w.settle();
    assert_eq!((w.sent("Create").len(), w.calls("Create")), (1, 0));
}

#[test]
fn a_subnet_that_refuses_an_assign_is_named_as_full() {
    let mut w = assigning();
    w.answer(Fate::Refused(ErrorKind::SubnetFull));
    assert_eq!(w.counts().full, [subnet(1).id]);
}

/// Each refusal makes the next try later; otherwise one node that finds a full subnet takes the account's rate from all.
#[test]
fn an_eni_whose_calls_fail_is_asked_more_and_more_seldom() {
    let mut w = World::with(settings(), facts(2, 30, Families::V4));
    w.settle();
    w.fates = vec![Fate::Refused(ErrorKind::Unavailable); 100];
    w.come(0..6);
    w.pass(secs(60));
    let tries = w.sent("Assign").len();
    assert!((4..=9).contains(&tries), "{tries}");
}

#[test]
fn a_call_that_a_pod_waits_for_goes_before_those_of_the_warm_pool() {
    let mut w = World::with(settings(), facts(4, 30, Families::V4));
    w.settle();
    assert!(w.sent("Create").iter().all(|(_, urgency)| *urgency == Urgency::Warm));
    w.come(0..7);
    assert_eq!(w.sent("Assign").first().map(|(_, urgency)| *urgency), Some(Urgency::Warm));
    w.settle();
    w.come(7..20);
    w.settle();
    assert!(w.sent("Assign").iter().any(|(_, urgency)| *urgency == Urgency::Waiting));
    w.admit(0, &pod("x", "ux"));
    assert_eq!(w.sent("Create").last().map(|(_, urgency)| *urgency), Some(Urgency::Waiting));
}

/// What was given back lately still shows in an old picture: it is no effect of the next call.
#[test]
fn addresses_that_were_given_back_lately_are_no_effect_of_an_assign_and_take_no_place() {
    let mut w =
        World::with(Settings { assign_batch: 30, ..settings() }, facts(2, 30, Families::V4));
    w.settle();
    w.come(0..24);
    w.settle();
    let old = w.cloud.views();
    w.go(0..24);
    w.pass(secs(70));
    assert_eq!(w.ipam.books(w.now).free, 6);
    w.step(Event::CloudSeen { begun: w.now.boot, enis: old.clone() });
    w.hold_cloud = true;
    w.come(24..48);
    w.answer_cloud(0);
    assert!(matches!(w.call(), CloudOp::Assign { count: 11.., .. }), "{:?}", w.call());
    w.answer(Fate::LostCall);
    w.advance(secs(1));
    let sent = w.sent("Assign").len();
    w.step(Event::CloudSeen { begun: w.now.boot, enis: old });
    assert_eq!(w.sent("Assign").len(), sent, "it is still open");
}

#[test]
fn a_refusal_that_says_nothing_of_prefixes_makes_no_single_addresses() {
    let s = Settings { prefixes: true, use_primary_address: false, ..settings() };
    let mut w = World::with(s, facts(2, 8, Families::V4));
    w.settle();
    w.fates = vec![Fate::Refused(ErrorKind::Unavailable)];
    w.come(0..16);
    w.pass(secs(10));
    assert_eq!((w.sent("AssignPrefixes").len(), w.sent("Assign {").len()), (2, 0));
}

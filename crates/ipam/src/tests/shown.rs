//! What a picture of the cloud says about ENIs and addresses that the books have, or do not have.

use tideway_cloud::{CloudOp, EniStatus, EniView};
use tideway_model::{EniState, Families, Family};

use super::cloud::Fate;
use super::simulated::{record, view};
use super::world::{World, facts, key, pod, secs, settings};
use crate::{AddressState, Command, Entry, Event, Settings, Source};

fn warm(families: Families) -> World {
    let mut w = World::with(settings(), facts(4, 10, families));
    w.settle();
    w
}

fn eni(w: &mut World) -> &mut EniView {
    w.cloud.enis.values_mut().find(|v| !v.primary).unwrap()
}

#[test]
fn a_picture_from_before_an_assign_casts_no_doubt_on_its_addresses() {
    let mut w = World::with(settings(), facts(2, 30, Families::V4));
    w.settle();
    w.pass(secs(100));
    let old = w.cloud.views();
    w.come(0..5);
    w.settle();
    let free = w.ipam.books(w.now).free;
    w.advance(secs(1));
    w.step(Event::CloudSeen { begun: w.now.boot, enis: old });
    assert_eq!(w.ipam.books(w.now).free, free);
}

#[test]
fn an_eni_that_a_look_shows_again_is_not_lost_by_the_next_absence() {
    let mut w = warm(Families::V4);
    w.pass(secs(100));
    let whole = w.cloud.views();
    let without: Vec<_> = whole.iter().filter(|v| v.primary).cloned().collect();
    for (wait, enis) in [(1, &without), (10, &whole), (25, &without)] {
        w.advance(secs(wait));
        w.step(Event::CloudSeen { begun: w.now.boot, enis: enis.clone() });
        let state = w.ipam.books(w.now).enis[0].state.clone();
        assert_eq!(state, EniState::Ready);
    }
}

#[test]
fn an_eni_that_others_attached_to_another_instance_is_lost() {
    let mut w = warm(Families::V4);
    w.pass(secs(100));
    eni(&mut w).instance = Some("i-2".try_into().unwrap());
    for _ in 0..2 {
        w.see_cloud();
        w.advance(secs(31));
    }
    w.see_cloud();
    let serves = |e: &crate::EniBook| e.state == EniState::Ready;
    assert!(!w.ipam.books(w.now).enis.iter().any(serves));
}

/// The attach that was given up took effect after all.
#[test]
fn an_eni_that_is_attached_against_the_books_is_detached_before_it_is_deleted() {
    let mut w = World::small();
    let shown = EniView { id: "eni-9".try_into().unwrap(), ..view(&[1], EniStatus::InUse) };
    let gone = crate::EniRecord {
        state: EniState::Deleting,
        attached: false,
        leaving: true,
        ..record(9, &[1])
    };
    let entry = Entry::Eni(Box::new(gone));
    w.journal = [(entry.key(), serde_json::to_vec(&entry).unwrap())].into();
    w.cloud.enis.insert(shown.id.clone(), shown.clone());
    w.crash();
    w.see_cloud();
    assert_eq!(w.ipam.books(w.now).enis[0].state, EniState::Deleting, "it may be an old picture");
    w.pass(secs(400));
    assert_eq!((w.calls("Detach"), w.cloud.enis.contains_key(&shown.id)), (1, false));
}

#[test]
fn the_primary_eni_is_known_by_its_flag_and_by_its_name() {
    for flagged in [true, false] {
        let mut w = warm(Families::V4);
        let mut primary = w.cloud.enis.values().find(|v| !v.primary).unwrap().clone();
        primary.primary = flagged;
        primary.id =
            if flagged { "eni-zero".try_into().unwrap() } else { w.facts.primary_eni.clone() };
        primary.addresses = vec!["10.0.7.7".parse().unwrap()];
        let mut enis: Vec<_> = w.cloud.views().into_iter().filter(|v| !v.primary).collect();
        enis.push(primary);
        w.step(Event::CloudSeen { begun: w.now.boot, enis });
        let Counted { foreign, known } = counted(&w);
        assert_eq!((foreign, known), (0, 1), "flagged: {flagged}");
    }
}

struct Counted {
    foreign: u32,
    known: usize,
}

fn counted(w: &World) -> Counted {
    Counted { foreign: w.counts().adapters.foreign, known: w.ipam.books(w.now).enis.len() }
}

#[test]
fn the_cloud_is_not_asked_again_while_its_answer_is_on_the_way() {
    let mut w = warm(Families::V4);
    w.pass(secs(900));
    let due = w.ipam.next_deadline().unwrap();
    w.advance(due.saturating_sub(w.now.boot));
    let asked = |w: &World| w.commands.iter().filter(|c| **c == Command::LookAtCloud).count();
    let before = asked(&w);
    for _ in 0..5 {
        w.tick();
        w.advance(secs(1));
    }
    assert_eq!(asked(&w), before + 1);
}

#[test]
fn an_address_around_which_others_put_a_prefix_is_within_it() {
    let mut w = warm(Families::V4);
    w.pass(secs(100));
    let view = eni(&mut w);
    let ip = view.addresses.pop().unwrap();
    let block = crate::prefixes::block(ip);
    view.prefixes.push(block);
    w.see_cloud();
    assert_eq!(w.ipam.books(w.now).enis[0].prefixes, [block]);
}

#[test]
fn an_ipv6_prefix_that_nobody_knows_comes_into_the_books() {
    let mut w = warm(Families::Dual);
    let prefix = "2001:db8:0:0:ff::/80".parse().unwrap();
    eni(&mut w).prefixes.push(prefix);
    w.see_cloud();
    w.pass(secs(70));
    w.see_cloud();
    assert_eq!(w.ipam.books(w.now).enis[0].prefixes, [prefix]);
}

#[test]
fn a_strange_address_takes_the_place_of_its_own_family() {
    let mut w = World::with(settings(), facts(2, 8, Families::V4));
    w.settle();
    eni(&mut w).addresses.push("2001:db8::9999".parse().unwrap());
    w.see_cloud();
    w.come(0..6);
    let asked = w.flying.first().map(|(_, op)| op);
    let both = matches!(asked, Some(CloudOp::Assign { family: Family::V4, count: 2, .. }));
    assert!(both, "{asked:?}");
}

/// In a run that began with ENIs as in any other, once no picture can be older than its start.
#[test]
fn a_late_assign_is_adopted_at_once_after_a_restart_too() {
    let mut w = World::with(settings(), facts(2, 30, Families::V4));
    w.settle();
    w.crash();
    w.settle();
    w.pass(secs(100));
    w.hold_cloud = true;
    w.come(0..6);
    w.fates = vec![Fate::LostAnswer];
    w.answer_cloud(0);
    w.advance(secs(1));
    w.see_cloud();
    assert!(!w.journal.keys().any(|key| key.starts_with("intent/")), "{:?}", w.journal.keys());
}

#[test]
fn a_primary_address_that_is_kept_from_pods_is_kept_after_its_rest_too() {
    let s = Settings { use_primary_address: false, ..settings() };
    let mut first = World::with(s.clone(), facts(2, 10, Families::V4));
    first.settle();
    // The journal is lost; the ENI is found by its tags, and all of its addresses rest.
    let mut w = World::with(s, facts(2, 10, Families::V4));
    w.cloud = first.cloud.clone();
    w.settle();
    w.pass(secs(60));
    let books = w.ipam.books(w.now);
    let primary = w.cloud.enis.values().find(|v| !v.primary).unwrap().primary_ip.unwrap();
    let state = books.enis[0].addresses.iter().find(|(ip, _)| *ip == primary).unwrap();
    assert_eq!(state.1, AddressState::Reserved);
}

#[test]
fn a_flush_from_before_the_del_makes_nothing_quiet() {
    let mut w = warm(Families::V4);
    let id = w.add("c1", &pod("a", "u1"));
    let addresses: Vec<_> = w.granted(id).addresses.iter().collect();
    w.advance(secs(2));
    w.del("c1");
    let begun = w.now.boot.saturating_sub(secs(1));
    w.step(Event::Quiet { begun, addresses: addresses.clone() });
    let books = w.ipam.books(w.now);
    let state = books.enis[0].addresses.iter().find(|(ip, _)| addresses.contains(ip)).unwrap();
    assert!(matches!(state.1, AddressState::Cooling { quiet: false, .. }), "{state:?}");
}

/// The runtime knows containers and no interfaces.
#[test]
fn a_sandbox_that_only_the_runtime_still_has_is_not_dead_and_a_dead_one_beside_it_is() {
    let mut w = warm(Families::V4);
    w.come(0..2);
    w.lose_namespace(&key("c0"));
    w.advance(secs(1));
    for _ in 0..2 {
        w.look(Source::Runtime, w.now.boot, [key("c1")].into());
        w.look(Source::Kernel, w.now.boot, [].into());
        w.advance(secs(31));
    }
    let left: Vec<_> = w.ipam.attachments().map(|a| a.key.clone()).collect();
    assert_eq!(left, [key("c1")]);
}

#[test]
fn pictures_from_before_its_birth_take_no_eni_away_however_many_they_are() {
    let mut w = World::small();
    let old = w.cloud.views();
    w.settle();
    for wait in [1, 32, 20] {
        w.advance(secs(wait));
        w.step(Event::CloudSeen { begun: w.now.boot, enis: old.clone() });
        assert_eq!(w.ipam.books(w.now).enis[0].state, EniState::Ready);
    }
}

#[test]
fn an_eni_that_a_look_shows_before_the_answer_of_its_create_comes_into_the_books_once() {
    let mut w = World::small();
    w.hold_cloud = true;
    w.settle();
    let (intent, op) = w.flying.remove(0);
    let result = w.cloud.apply(&op);
    w.advance(secs(1));
    w.see_cloud();
    assert_eq!(w.ipam.books(w.now).enis.len(), 1);
    w.step(Event::CloudDone { intent, result });
    assert_eq!(w.ipam.books(w.now).enis.len(), 1);
    assert_eq!(w.flying.len(), 1, "its Attach");
}

/// The cloud said no and did it all the same.
#[test]
fn an_attach_that_was_refused_and_took_effect_is_seen() {
    let mut w = World::small();
    w.hold_cloud = true;
    w.settle();
    w.answer_cloud(0);
    let (intent, op) = w.flying.remove(0);
    w.cloud.apply(&op).unwrap();
    let no = super::cloud::error(&op, tideway_cloud::ErrorKind::Conflict);
    w.step(Event::CloudDone { intent, result: Err(no) });
    w.advance(secs(1));
    w.see_cloud();
    w.pass(secs(5));
    assert_eq!((w.ipam.books(w.now).enis[0].state.clone(), w.flying.len()), (EniState::Ready, 0));
}

/// What is found with our tags.
#[test]
fn a_found_eni_joins_only_on_this_node_and_with_our_security_groups() {
    let mut w = warm(Families::V4);
    let mut found = eni(&mut w).clone();
    found.id = "eni-9".try_into().unwrap();
    found.addresses = vec!["10.0.9.9".parse().unwrap()];
    let mut elsewhere = found.clone();
    elsewhere.instance = Some("i-2".try_into().unwrap());
    let mut strange = found.clone();
    strange.security_groups = vec!["sg-9".try_into().unwrap()];
    for (shown, state) in [
        (elsewhere, None),
        (strange, Some(EniState::Detaching)),
        (found, Some(EniState::Attaching)),
    ] {
        let mut w = warm(Families::V4);
        let mut enis = w.cloud.views();
        let id = shown.id.clone();
        enis.push(shown);
        w.step(Event::CloudSeen { begun: w.now.boot, enis });
        for at in (0..w.quiesce.len()).rev() {
            w.answer_quiesce(at);
        }
        let books = w.ipam.books(w.now);
        let own = books.enis.into_iter().find(|e| e.id.as_ref() == Some(&id));
        assert_eq!(own.map(|e| e.state), state);
    }
}

#[test]
fn a_prefix_of_a_found_eni_is_one() {
    let s = Settings { prefixes: true, use_primary_address: false, ..settings() };
    let mut first = World::with(s.clone(), facts(2, 10, Families::V4));
    first.settle();
    let mut w = World::with(s, facts(2, 10, Families::V4));
    w.cloud = first.cloud.clone();
    w.settle();
    let former = &first.ipam.books(first.now).enis[0].prefixes;
    assert!(w.ipam.books(w.now).enis[0].prefixes.contains(&former[0]));
}

#[test]
fn a_device_whose_eni_was_taken_away_gets_another_one_for_its_next_container() {
    let mut w = warm(Families::V4);
    let p = pod("x", "ux");
    w.admit(0, &p);
    w.settle();
    let id = w.add("c1", &p);
    let former = w.granted(id).eni.clone();
    w.taken.insert(former.to_string());
    w.pass(secs(100));
    w.cloud.enis.remove(&former);
    for _ in 0..3 {
        w.see_cloud();
        w.pass(secs(31));
    }
    w.del("c1");
    let next = w.add("c2", &p);
    w.pass(secs(10));
    assert_ne!(w.granted(next).eni, former);
}

#[test]
fn what_is_given_back_is_not_told_to_the_host_again() {
    let mut w = World::with(settings(), facts(2, 30, Families::V4));
    w.settle();
    w.come(0..9);
    w.settle();
    w.go(0..9);
    w.fates = vec![Fate::Refused(tideway_cloud::ErrorKind::Unavailable); 100];
    w.pass(secs(100));
    assert!(
        w.commands.iter().any(|c| matches!(c, Command::Cloud { op: CloudOp::Unassign { .. }, .. }))
    );
    w.crash();
    let told: Vec<_> = w.prepare.iter().map(|eni| eni.addresses.len()).collect();
    assert_eq!(told, [6]);
}

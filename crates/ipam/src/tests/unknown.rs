//! Calls of unknown outcome, stale looks, and things done behind our back.

use super::cloud::Fate;
use super::simulated::{record, view};
use super::world::{World, facts, pod, secs, settings};
use crate::{AddressState, Entry, Event, Settings, Use};
use tideway_cloud::{CloudOp, EniStatus, EniView, ErrorKind};
use tideway_model::{EniId, EniState, Families};

#[test]
fn a_create_whose_answer_is_lost_is_found_by_its_tag_and_not_sent_again() {
    let mut w = World::small();
    w.fates = vec![Fate::LostAnswer];
    w.settle();
    w.pass(secs(5));
    assert_eq!(w.calls("Create"), 1);
    assert_eq!(w.ipam.books(w.now).free, 6);
}

#[test]
fn a_create_that_never_arrived_is_sent_again_after_its_late_effect_is_over() {
    let mut w = World::small();
    w.fates = vec![Fate::LostCall];
    w.settle();
    w.pass(secs(59));
    assert_eq!(w.calls("Create"), 0);
    w.pass(secs(10));
    assert_eq!(w.calls("Create"), 1);
    assert_eq!(w.ipam.books(w.now).free, 6);
}

#[test]
fn a_late_assign_is_adopted_and_not_doubled() {
    let mut w = World::with(settings(), facts(3, 30, Families::V4));
    w.settle();
    w.fates = vec![Fate::Late];
    w.come(0..6);
    w.pass(secs(120));
    assert_eq!(w.calls("Assign"), 1, "{:?}", w.cloud.calls);
    let shown: usize =
        w.cloud.enis.values().filter(|v| !v.primary).map(|v| v.addresses.len()).sum();
    let books = w.ipam.books(w.now);
    let known: usize = books.enis.iter().map(|e| e.addresses.len()).sum();
    assert_eq!(shown, known, "every address on our ENI is in the books");
}

#[test]
fn the_host_hears_of_a_shared_eni_that_was_deleted_behind_our_back() {
    let mut w = World::small();
    w.settle();
    let books = w.ipam.books(w.now);
    let shared = books.enis.iter().find(|e| e.usage == Use::Shared);
    let lost = shared.and_then(|e| e.id.clone()).expect("a warm pool");
    w.cloud.enis.remove(&lost);
    for _ in 0..4 {
        w.pass(secs(60));
        w.see_cloud();
    }
    w.settle();
    assert_eq!(w.calls("Delete"), 0, "there is nothing to delete");
    assert_eq!(w.retired, [lost]);
    assert_eq!(w.ipam.books(w.now).free, 6, "it is replaced");
}

/// Twenty pods come and go; the surplus is about to be given back.
fn with_surplus() -> World {
    let mut w = World::with(settings(), facts(3, 30, Families::V4));
    w.settle();
    w.come(0..20);
    w.settle();
    w.go(0..20);
    w.settle();
    w
}

#[test]
fn an_unassigned_address_never_returns_to_free_directly() {
    let mut w = with_surplus();
    w.fates = vec![Fate::LostCall];
    w.pass(secs(62));
    let releasing = |w: &World| {
        let books = w.ipam.books(w.now);
        let all = books.enis.iter().flat_map(|e| e.addresses.clone());
        all.filter(|(_ip, s)| *s == AddressState::Releasing).map(|(ip, _s)| ip).collect::<Vec<_>>()
    };
    let sent = releasing(&w);
    assert!(!sent.is_empty());
    // Demand comes back while the outcome is unknown: these addresses are not used for it.
    w.come(30..50);
    w.pass(secs(55));
    assert!(w.kernel.values().all(|l| l.attachment.addresses.iter().all(|ip| !sent.contains(&ip))));
    w.pass(secs(20));
    let books = w.ipam.books(w.now);
    for e in &books.enis {
        for (ip, state) in &e.addresses {
            let cools = matches!(state, AddressState::Cooling { .. });
            assert!(!sent.contains(ip) || cools, "{ip} is {state:?}");
        }
    }
}

#[test]
fn an_unassign_that_was_done_is_forgotten_and_a_stale_look_does_not_bring_it_back() {
    let mut w = with_surplus();
    w.pass(secs(55));
    let stale = w.cloud.views();
    w.pass(secs(20));
    assert!(w.calls("Unassign") > 0);
    let free = w.ipam.books(w.now).free;
    w.step(Event::CloudSeen { begun: w.now.boot, enis: stale });
    w.settle();
    assert_eq!(w.ipam.books(w.now).free, free);
}

#[test]
fn an_eni_that_was_deleted_is_forgotten_and_a_stale_look_does_not_bring_it_back() {
    let mut w = World::with(settings(), facts(4, 10, Families::V4));
    w.settle();
    w.come(0..15);
    w.settle();
    w.go(0..15);
    let stale = (0..600).find_map(|_second| {
        let before = w.cloud.views();
        w.pass(secs(1));
        (w.cloud.views().len() < before.len()).then_some(before)
    });
    let stale = stale.expect("an idle ENI goes");
    w.pass(secs(1));
    let enis = w.ipam.books(w.now).enis.len();
    w.step(Event::CloudSeen { begun: w.now.boot, enis: stale });
    assert_eq!(w.ipam.books(w.now).enis.len(), enis);
}

#[test]
fn not_found_of_a_young_eni_proves_nothing() {
    let mut w = World::small();
    w.fates = vec![Fate::Good, Fate::Refused(ErrorKind::NotFound)];
    w.settle();
    w.pass(secs(10));
    assert_eq!(w.calls("Create"), 1);
    assert_eq!(w.ipam.books(w.now).free, 6);
}

#[test]
fn a_stale_look_does_not_take_a_young_eni_away() {
    let mut w = World::small();
    let stale = w.cloud.views();
    w.settle();
    w.add("c1", &pod("a", "u1"));
    for _ in 0..3 {
        w.advance(secs(10));
        w.step(Event::CloudSeen { begun: w.now.boot, enis: stale.clone() });
    }
    assert_eq!(w.ipam.books(w.now).enis[0].state, EniState::Ready);
}

/// The ENI of a running pod was detached by others, and a first look has shown it.
fn detached_by_others() -> (World, EniId) {
    let mut w = World::small();
    w.settle();
    let id = w.add("c1", &pod("a", "u1"));
    let eni = w.granted(id).eni.clone();
    w.pass(secs(120));
    let view = w.cloud.enis.get_mut(&eni).unwrap();
    view.status = EniStatus::Available;
    view.instance = None;
    w.taken.insert(eni.to_string());
    w.see_cloud();
    (w, eni)
}

#[test]
fn a_forced_detach_is_noticed_by_two_looks_and_replaced() {
    let (mut w, eni) = detached_by_others();
    let book = |w: &World| w.ipam.books(w.now).enis[0].clone();
    assert_eq!(book(&w).state, EniState::Ready, "one look changes nothing");
    w.pass(secs(31));
    assert!(matches!(book(&w).state, EniState::Failed(_)));
    assert!(book(&w).addresses.iter().all(|(_ip, s)| *s == AddressState::Lost));
    w.pass(secs(10));
    assert_eq!(w.ipam.books(w.now).free, 6, "another ENI takes its place");
    w.del("c1");
    w.pass(secs(60));
    assert!(!w.cloud.enis.contains_key(&eni), "what is left of it is deleted");
}

/// Deleted at once it would give its addresses back to the subnet, and the next pod could have them from there.
#[test]
fn addresses_of_an_eni_that_others_detached_rest_before_it_is_deleted() {
    for pods_stay in [true, false] {
        let (mut w, eni) = detached_by_others();
        w.pass(secs(29));
        if pods_stay {
            w.pass(secs(100));
        }
        w.del("c1");
        // The rest is thirty seconds.
        w.pass(secs(29));
        assert!(w.cloud.enis.contains_key(&eni), "{pods_stay}");
        w.pass(secs(35));
        assert!(!w.cloud.enis.contains_key(&eni), "{pods_stay}");
    }
}

#[test]
fn a_foreign_eni_is_counted_and_never_touched() {
    let mut w = World::small();
    let mut foreign = w.cloud.views()[0].clone();
    foreign.id = "eni-foreign".try_into().unwrap();
    foreign.primary = false;
    foreign.addresses = vec!["10.0.0.99".parse().unwrap()];
    w.cloud.enis.insert(foreign.id.clone(), foreign.clone());
    w.settle();
    w.pass(secs(300));
    assert_eq!(w.cloud.enis.get(&foreign.id), Some(&foreign));
    assert!(w.devices.iter().all(|d| !d.healthy), "its slot cannot be had: {:?}", w.devices);
}

/// The journal knows it by its id. Only the sweep of other nodes leaves such a one alone.
#[test]
fn an_eni_whose_tags_somebody_took_away_serves_on_and_is_deleted_at_its_end() {
    let mut w = World::small();
    w.settle();
    let first = w.add("c1", &pod("web-1", "u1"));
    w.settle();
    let eni = w.granted(first).eni.clone();
    w.cloud.enis.get_mut(&eni).unwrap().tags.clear();
    w.pass(secs(900));
    w.crash();
    w.pass(secs(900));
    let second = w.add("c2", &pod("web-2", "u2"));
    w.settle();
    assert_eq!(w.granted(second).eni, eni);
    w.del("c1");
    w.del("c2");
    w.step(Event::Uninstall);
    w.pass(secs(300));
    assert!(w.uninstalled && !w.cloud.enis.contains_key(&eni), "{:?}", w.cloud.enis);
}

#[test]
fn our_detached_eni_that_is_not_in_the_books_is_deleted_and_an_attached_one_joins() {
    let mut w = World::small();
    w.settle();
    // The journal is lost; the cloud still has what was ours.
    let mut second = World::small();
    second.cloud = w.cloud.clone();
    let mut leaked = w.cloud.enis.values().find(|v| !v.primary).unwrap().clone();
    leaked.id = "eni-leaked".try_into().unwrap();
    leaked.status = EniStatus::Available;
    leaked.instance = None;
    leaked.addresses = vec!["10.0.9.9".parse().unwrap()];
    second.cloud.enis.insert(leaked.id.clone(), leaked.clone());
    second.settle();
    second.pass(secs(40));
    assert!(!second.cloud.enis.contains_key(&leaked.id));
    assert_eq!(second.calls("Create"), w.calls("Create"), "the attached one is used");
    assert!(second.ipam.books(second.now).free >= 2);
}

#[test]
fn an_address_that_another_actor_removed_is_not_handed_out() {
    let mut w = World::small();
    w.settle();
    w.pass(secs(100));
    let view = w.cloud.enis.values_mut().find(|v| !v.primary).unwrap();
    let gone: Vec<_> = view.addresses.drain(1..).collect();
    w.see_cloud();
    let id = w.add("c1", &pod("a", "u1"));
    assert!(!gone.contains(&w.granted(id).addresses.iter().next().unwrap()));
    w.pass(secs(35));
    assert!(w.ipam.books(w.now).enis[0].addresses.iter().all(|(ip, _s)| !gone.contains(ip)));
}

#[test]
fn an_eni_that_the_host_cannot_use_does_not_starve_the_pool() {
    let mut w = World::with(settings(), facts(4, 10, Families::V4));
    for _ in 0..40 {
        w.advance(secs(1));
        if w.looks_wanted > 0 {
            w.see_cloud();
        } else if w.device_looks_wanted > 0 {
            w.see_devices();
        } else if !w.prepare.is_empty() {
            let eni = w.prepare.remove(0);
            let broken = eni.id.as_str() == "eni-1";
            let result = if broken { Err("its link is in a pod".to_owned()) } else { Ok(()) };
            w.step(Event::EniPrepared { eni: eni.id, result });
        } else if !w.flying.is_empty() {
            w.answer_cloud(0);
        } else {
            w.tick();
        }
    }
    assert!(w.ipam.books(w.now).free >= 6);
}

#[test]
fn an_address_that_another_actor_added_is_not_handed_out_at_once() {
    let mut w = World::small();
    w.settle();
    let stranger = "10.9.9.9".parse().unwrap();
    let eni = w.cloud.enis.values_mut().find(|v| !v.primary).unwrap();
    eni.addresses.push(stranger);
    w.see_cloud();
    let known = |w: &World| {
        let books = w.ipam.books(w.now);
        books.enis[0].addresses.iter().find(|(ip, _s)| *ip == stranger).map(|(_ip, s)| s.clone())
    };
    assert_eq!(known(&w), None, "one look may be stale");
    w.advance(secs(61));
    w.see_cloud();
    assert!(matches!(known(&w), Some(AddressState::Cooling { .. })), "{:?}", known(&w));
}

#[test]
fn an_address_that_nobody_knows_yet_takes_its_place_on_the_eni() {
    let mut w = World::with(settings(), facts(2, 8, Families::V4));
    w.settle();
    let eni = w.cloud.enis.values_mut().find(|v| !v.primary).unwrap();
    assert_eq!(eni.addresses.len(), 6);
    eni.addresses.push("10.9.9.9".parse().unwrap());
    w.see_cloud();
    w.come(0..6);
    let asked = w.flying.first().map(|(_, op)| op);
    let last = matches!(asked, Some(CloudOp::Assign { count: 1, .. }));
    assert!(last, "the eighth place is the last: {asked:?}");
}

/// The other ENI may be on its way out of the books, and the limit is the cloud's.
#[test]
fn an_address_that_the_books_have_on_another_eni_takes_its_place_where_the_cloud_shows_it() {
    let mut w = World::with(Settings { low: 9, high: 9, ..settings() }, facts(3, 8, Families::V4));
    let entries = [record(1, &[1, 2, 3, 4, 5, 6]), record(2, &[9])];
    let entries = entries.map(|r| Entry::Eni(Box::new(r)));
    w.journal = entries.map(|e| (e.key(), serde_json::to_vec(&e).unwrap())).into();
    let first = view(&[1, 2, 3, 4, 5, 6, 9], EniStatus::InUse);
    let second =
        EniView { id: "eni-2".try_into().unwrap(), addresses: Vec::new(), ..first.clone() };
    w.cloud.enis.extend([first, second].map(|v| (v.id.clone(), v)));
    w.crash();
    w.hold_cloud = true;
    w.settle();
    let asked = w.flying.iter().find_map(|(_, op)| {
        let CloudOp::Assign { eni, count, .. } = op else { return None };
        (eni.as_str() == "eni-1").then_some(*count)
    });
    assert_eq!(asked, Some(1), "{:?}", w.flying);
}

#[test]
fn an_address_that_one_look_does_not_show_rests_in_doubt_and_stays() {
    let mut w = World::small();
    w.settle();
    w.pass(secs(100));
    let whole = w.cloud.views();
    let mut partial = whole.clone();
    for v in partial.iter_mut().filter(|v| !v.primary) {
        v.addresses.truncate(3);
    }
    w.step(Event::CloudSeen { begun: w.now.boot, enis: partial });
    assert_eq!(w.ipam.books(w.now).enis[0].addresses.len(), 6);
    w.advance(secs(1));
    w.step(Event::CloudSeen { begun: w.now.boot, enis: whole });
    assert_eq!(w.ipam.books(w.now).enis[0].addresses.len(), 6);
}

#[test]
fn not_found_of_a_young_eni_does_not_end_its_detach() {
    let mut w = World::small();
    w.settle();
    w.fates = vec![Fate::Refused(ErrorKind::NotFound)];
    w.step(Event::Uninstall);
    w.pass(secs(10));
    let calls: Vec<String> = w.cloud.calls.iter().map(|op| format!("{op:?}")).collect();
    let at = |what: &str| calls.iter().position(|c| c.starts_with(what));
    assert!(at("Detach") < at("Delete") && at("Detach").is_some(), "{calls:?}");
    assert!(w.uninstalled);
}

#[test]
fn throttling_is_waited_out_and_does_not_open_a_second_eni() {
    let mut w = World::with(settings(), facts(4, 30, Families::V4));
    w.settle();
    w.fates = vec![Fate::Refused(ErrorKind::Throttled { retry_after: Some(secs(3)) })];
    w.come(0..6);
    w.pass(secs(10));
    assert_eq!(w.calls("Create"), 1);
    assert_eq!(w.ipam.books(w.now).waiting.len(), 0);
}

#[test]
fn addresses_that_a_look_brought_are_usable_although_the_next_assign_has_no_answer_yet() {
    let mut w = World::with(settings(), facts(3, 30, Families::V4));
    w.settle();
    // The call for more is lost on its way: its outcome stays unknown for a minute.
    w.fates = vec![Fate::LostCall];
    w.come(0..6);
    w.settle();
    // Meanwhile somebody adds addresses to our ENI, and a look shows them.
    let eni = w.cloud.enis.values_mut().find(|v| !v.primary).unwrap();
    eni.addresses.extend((200..203).map(|n| std::net::IpAddr::from([10, 9, 9, n])));
    w.advance(secs(1));
    w.see_cloud();
    w.pass(secs(30));
    assert!(w.ipam.books(w.now).free >= 3, "{:?}", w.ipam.books(w.now).enis);
}

#[test]
fn an_eni_with_an_open_call_of_a_former_run_serves_before_its_outcome_is_known() {
    let mut w = World::small();
    w.settle();
    w.hold_cloud = true;
    for n in 0.. {
        if w.flying.iter().any(|(_id, op)| matches!(op, CloudOp::Assign { .. })) {
            break;
        }
        assert!(w.ipam.books(w.now).free > 1, "no Assign after {n} pods");
        w.add(&format!("c{n}"), &pod(&format!("p{n}"), &format!("u{n}")));
        w.settle();
    }
    w.crash();
    w.settle();
    let id = w.add("next", &pod("next", "u-next"));
    w.settle();
    w.granted(id);
}

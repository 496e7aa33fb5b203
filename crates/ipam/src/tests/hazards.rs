//! Requests and addresses: one test for each way in which others have lost or doubled an address.

use std::collections::BTreeSet;

use tideway_model::Families;

use super::world::{Answer, World, facts, key, pod, secs, settings};
use crate::{AddressState, COMMAND_PATIENCE, Event, Look, Source};

fn warm() -> World {
    let mut w = World::small();
    w.settle();
    w
}

#[test]
fn a_cold_node_warms_up_with_one_create_and_one_attach() {
    let w = warm();
    assert_eq!(w.ipam.books(w.now).free, 6);
    assert_eq!((w.calls("Create"), w.calls("Attach"), w.calls("Assign")), (1, 1, 0));
    assert_eq!(w.devices.len(), 1, "one slot is reserved for the shared ENI");
    assert!(w.devices[0].healthy);
}

#[test]
fn a_warm_pod_is_granted_at_once_and_the_promise_is_durable() {
    let mut w = warm();
    let id = w.add("c1", &pod("a", "u1"));
    let a = w.granted(id).clone();
    assert!(w.journal.contains_key("attachment/c1/eth0"));
    assert!(a.exclusive.is_none());
}

#[test]
fn the_same_container_gets_the_same_answer_again() {
    let mut w = warm();
    let (one, two) = (w.add("c1", &pod("a", "u1")), w.add("c1", &pod("a", "u1")));
    assert_eq!(w.granted(one), w.granted(two));
    assert!(matches!(w.answers.get(&two), Some(Answer::Granted { again: true, .. })));
}

#[test]
fn both_questions_of_a_waiting_container_are_answered() {
    let mut w = World::small();
    let (one, two) = (w.add("c1", &pod("a", "u1")), w.add("c1", &pod("a", "u1")));
    assert!(w.waits(one) && w.waits(two));
    w.settle();
    assert_eq!(w.granted(one), w.granted(two));
}

#[test]
fn two_containers_of_one_pod_uid_get_two_addresses() {
    let mut w = warm();
    let (one, two) = (w.add("c1", &pod("a", "u1")), w.add("c2", &pod("a", "u1")));
    assert_ne!(w.granted(one).addresses, w.granted(two).addresses);
}

#[test]
fn an_old_del_never_meets_the_new_container_of_the_pod() {
    let mut w = warm();
    w.add("c1", &pod("a", "u1"));
    let two = w.add("c2", &pod("a", "u1"));
    w.del("c1");
    assert!(w.kernel.contains_key(&key("c2")));
    assert!(w.ipam.attachments().any(|a| a == w.granted(two)));
}

#[test]
fn del_is_idempotent_and_of_an_unknown_container_harmless() {
    let mut w = warm();
    w.add("c1", &pod("a", "u1"));
    let (one, two, three) = (w.del("c1"), w.del("c1"), w.del("never-seen"));
    assert_eq!(w.dels.get(&one), Some(&true));
    assert_eq!((w.dels.get(&two), w.dels.get(&three)), (Some(&false), Some(&false)));
}

#[test]
fn a_del_that_overtakes_a_waiting_add_refuses_it() {
    let mut w = World::small();
    let add = w.add("c1", &pod("a", "u1"));
    let del = w.del("c1");
    assert!(w.refused(add).why.text.contains("DEL"));
    assert_eq!(w.dels.get(&del), Some(&false));
    w.settle();
    assert_eq!(w.ipam.attachments().count(), 0);
}

#[test]
fn released_address_is_not_reused_before_cooldown() {
    let mut w = World::with(settings(), facts(2, 1, Families::V4));
    w.settle();
    let one = w.add("c1", &pod("a", "u1"));
    let ip = w.granted(one).addresses;
    w.del("c1");
    let two = w.add("c2", &pod("b", "u2"));
    w.pass(secs(29));
    assert!(w.waits(two), "handed out while it rests");
    w.pass(secs(2));
    assert_eq!(w.granted(two).addresses, ip);
}

#[test]
fn released_address_is_not_reused_before_conntrack_is_flushed() {
    let mut w = World::with(settings(), facts(2, 1, Families::V4));
    w.settle();
    w.add("c1", &pod("a", "u1"));
    w.del("c1");
    let flush = std::mem::take(&mut w.quiesce);
    w.pass(secs(40));
    let two = w.add("c2", &pod("b", "u2"));
    assert!(w.waits(two), "handed out before it is quiet");
    w.quiesce = flush;
    w.settle();
    assert!(w.answers.contains_key(&two));
}

#[test]
fn cooling_survives_a_crash_and_starts_afresh() {
    let mut w = World::with(settings(), facts(2, 1, Families::V4));
    w.settle();
    w.add("c1", &pod("a", "u1"));
    w.del("c1");
    w.pass(secs(20));
    w.crash();
    let two = w.add("c2", &pod("b", "u2"));
    w.pass(secs(25));
    assert!(w.waits(two), "a restart must not shorten the rest");
    w.pass(secs(10));
    assert!(!w.waits(two));
}

#[test]
fn addresses_of_the_fullest_eni_go_first_and_the_longest_free_of_it() {
    let mut w = World::with(settings(), facts(4, 3, Families::V4));
    w.settle();
    let first = w.add("c1", &pod("a", "u1"));
    let eni = w.granted(first).eni.clone();
    let second = w.add("c2", &pod("b", "u2"));
    assert_eq!(w.granted(second).eni, eni);
}

#[test]
fn a_request_is_refused_at_its_deadline_with_the_cause_and_the_remedy() {
    use super::cloud::Fate;
    use tideway_cloud::ErrorKind;
    let causes = [
        (ErrorKind::SubnetFull, "add a subnet"),
        (ErrorKind::Throttled { retry_after: None }, "rate limit"),
        (ErrorKind::Denied("ecs:CreateNetworkInterface".into()), "grant"),
        (ErrorKind::QuotaExceeded("eni".into()), "raise the quota"),
    ];
    for (kind, remedy) in causes {
        let mut w = World::small();
        w.fates = vec![Fate::Refused(kind.clone()); 200];
        let id = w.add("c1", &pod("a", "u1"));
        w.pass(secs(61));
        let refusal = w.refused(id);
        assert_eq!(refusal.why.cause, kind.cause());
        assert_eq!(refusal.why.cause.code(), 11);
        assert!(refusal.why.text.contains(remedy), "{kind:?}: {refusal}");
    }
}

#[test]
fn a_full_instance_names_itself_as_the_cause() {
    let mut w = World::with(settings(), facts(2, 2, Families::V4));
    w.settle();
    w.add("c1", &pod("a", "u1"));
    w.add("c2", &pod("b", "u2"));
    let id = w.add("c3", &pod("c", "u3"));
    w.pass(secs(61));
    assert!(w.refused(id).why.text.contains("instance type"), "{}", w.refused(id));
}

#[test]
fn a_failed_plumbing_rests_its_address() {
    let mut w = warm();
    w.add("c1", &pod("a", "u1"));
    w.step(Event::PlumbFailed { key: key("c1") });
    let books = w.ipam.books(w.now);
    let states = books.enis.iter().flat_map(|e| &e.addresses);
    assert!(states.into_iter().any(|(_ip, s)| matches!(s, AddressState::Cooling { .. })));
}

#[test]
fn one_look_frees_nothing_and_one_source_frees_nothing() {
    let mut w = warm();
    w.add("c1", &pod("a", "u1"));
    let look = |w: &mut World, source| w.look(source, w.now.boot, BTreeSet::new());
    w.advance(secs(1));
    for _ in 0..5 {
        look(&mut w, Source::Runtime);
        w.advance(secs(60));
    }
    assert_eq!(w.ipam.attachments().count(), 1, "the runtime alone must not free it");
    w.kernel.clear();
    look(&mut w, Source::Kernel);
    assert_eq!(w.ipam.attachments().count(), 0, "both sources agree over more than settle");
}

#[test]
fn two_sources_at_one_moment_free_nothing_before_settle() {
    let mut w = warm();
    w.add("c1", &pod("a", "u1"));
    w.advance(secs(1));
    w.sandboxes.clear();
    w.kernel.clear();
    w.see_attachments();
    assert_eq!(w.ipam.attachments().count(), 1);
    w.advance(secs(30));
    w.see_attachments();
    assert_eq!(w.ipam.attachments().count(), 0);
}

#[test]
fn a_look_that_began_before_the_add_says_nothing_about_it() {
    let mut w = warm();
    let begun = w.now.boot;
    w.advance(secs(1));
    w.add("c1", &pod("a", "u1"));
    for source in [Source::Runtime, Source::Kernel] {
        w.look(source, begun, BTreeSet::new());
    }
    w.advance(secs(31));
    w.look(Source::Kernel, w.now.boot, BTreeSet::new());
    assert_eq!(w.ipam.attachments().count(), 1);
}

#[test]
fn a_look_that_was_not_asked_about_an_attachment_says_nothing_about_it() {
    let mut w = warm();
    w.add("c1", &pod("a", "u1"));
    for _ in 0..5 {
        w.advance(secs(31));
        // The hands were slow: when they made their list, they did not know of the pod yet.
        for source in [Source::Runtime, Source::Kernel] {
            let (begun, nobody) = (w.now.boot, BTreeSet::new());
            w.step(Event::Seen(Look { source, begun, asked: nobody.clone(), live: nobody }));
        }
    }
    assert_eq!(w.ipam.attachments().count(), 1);
}

#[test]
fn a_sandbox_whose_namespace_lives_is_not_dead() {
    let mut w = warm();
    w.add("c1", &pod("a", "u1"));
    w.sandboxes.clear();
    for _ in 0..5 {
        w.advance(secs(31));
        w.see_attachments();
    }
    assert_eq!(w.ipam.attachments().count(), 1);
}

#[test]
fn dual_stack_pods_take_both_families_from_one_eni() {
    let mut w = World::with(settings(), facts(3, 10, Families::Dual));
    w.settle();
    let id = w.add("c1", &pod("a", "u1"));
    let a = w.granted(id);
    assert!(a.addresses.v4.is_some() && a.addresses.v6.is_some());
}

#[test]
fn ipv6_only_pods_never_take_ipv4() {
    let mut w = World::with(settings(), facts(3, 10, Families::V6));
    w.settle();
    let id = w.add("c1", &pod("a", "u1"));
    let a = w.granted(id);
    assert!(a.addresses.v4.is_none() && a.addresses.v6.is_some());
}

#[test]
fn the_primary_address_stays_away_from_pods_when_told_so() {
    let mut s = settings();
    s.use_primary_address = false;
    let mut w = World::with(s, facts(2, 3, Families::V4));
    w.settle();
    let ids: Vec<_> = (0..3).map(|n| w.add(&format!("c{n}"), &pod("a", "u1"))).collect();
    let granted = ids.iter().filter(|id| !w.waits(**id)).count();
    assert_eq!(granted, 2);
    w.crash();
    w.settle();
    assert_eq!(w.ipam.books(w.now).free, 0, "a restart must not free the primary address");
}

#[test]
fn uninstall_refuses_new_pods_waits_for_living_ones_and_leaves_nothing() {
    let mut w = warm();
    w.add("c1", &pod("a", "u1"));
    w.step(Event::Uninstall);
    w.settle();
    let late = w.add("c2", &pod("b", "u2"));
    assert!(w.refused(late).why.text.contains("uninstalled"));
    assert!(!w.uninstalled);
    w.del("c1");
    w.pass(secs(1));
    assert!(w.uninstalled);
    assert_eq!(w.cloud.enis.len(), 1, "only the primary ENI stays: {:?}", w.cloud.enis);
}

#[test]
fn an_uninstall_that_is_called_off_costs_no_eni_that_pods_use() {
    let mut w = warm();
    let first = w.add("c1", &pod("a", "u1"));
    w.step(Event::Uninstall);
    w.settle();
    w.crash();
    w.settle();
    let second = w.add("c2", &pod("b", "u2"));
    w.settle();
    assert_eq!(w.granted(second).eni, w.granted(first).eni);
}

#[test]
fn journal_of_a_newer_version_is_refused() {
    let newer = br#"{"v":2,"entry":{"kind":"counters","intent":1,"eni":1}}"#;
    let e = serde_json::from_slice::<crate::Entry>(newer).unwrap_err();
    assert!(e.to_string().contains("version 2"), "{e}");
}

#[test]
fn released_address_is_flushed_again_when_its_rest_ends() {
    let mut w = warm();
    let id = w.add("c1", &pod("a", "u1"));
    let ip = w.granted(id).addresses.iter().next().unwrap();
    w.del("c1");
    w.settle();
    // A client that has not heard of the end sends on, and conntrack has the address again.
    w.dirty.insert(ip);
    w.idle(secs(31));
    assert_eq!(w.ipam.books(w.now).free, 5, "not free before the last flush");
    w.settle();
    assert!(!w.dirty.contains(&ip));
    assert_eq!(w.ipam.books(w.now).free, 6);
}

#[test]
fn the_report_of_an_earlier_flush_does_not_pass_for_the_last_one() {
    let mut w = warm();
    let id = w.add("c1", &pod("a", "u1"));
    let addresses: Vec<_> = w.granted(id).addresses.iter().collect();
    w.del("c1");
    let begun = w.now.boot;
    w.settle();
    w.idle(secs(31));
    w.step(Event::Quiet { begun, addresses });
    assert_eq!(w.ipam.books(w.now).free, 5);
}

#[test]
fn a_flush_that_nobody_reports_is_ordered_again() {
    let mut w = warm();
    w.add("c1", &pod("a", "u1"));
    w.del("c1");
    for _flush in 0..2 {
        assert_eq!(w.quiesce.len(), 1);
        // Whoever worked on it died.
        w.quiesce.clear();
        w.idle(COMMAND_PATIENCE + secs(1));
        assert_eq!(w.quiesce.len(), 1);
        w.answer_quiesce(0);
        w.idle(secs(1));
    }
    assert_eq!(w.ipam.books(w.now).free, 6);
}

#[test]
fn a_preparation_that_nobody_reports_is_ordered_again() {
    let mut w = World::small();
    while w.prepare.is_empty() {
        if w.flying.is_empty() {
            w.see_cloud();
        } else {
            w.answer_cloud(0);
        }
    }
    w.prepare.clear();
    w.idle(COMMAND_PATIENCE + secs(1));
    assert_eq!(w.prepare.len(), 1);
    w.settle();
    assert_eq!(w.ipam.books(w.now).free, 6);
}

//! Units are held, and not for ever.

use super::*;

#[test]
fn the_last_address_is_not_offered_to_a_second_pod() {
    let mut books = decider(false, &[("n1", shared(1))]);
    assert_eq!(filter(&mut books, 1, &pod("a"), &["n1"]), ["n1"]);
    assert!(filter(&mut books, 1, &pod("b"), &["n1"]).is_empty());
    // The same pod again: its own unit is there for it.
    assert_eq!(filter(&mut books, 2, &pod("a"), &["n1"]), ["n1"]);
    books.pod(at(3), &bound("a", "n1", 5));
    assert!(filter(&mut books, 3, &pod("b"), &["n1"]).is_empty());
}

#[test]
fn several_nodes_are_returned_only_while_each_has_room_for_every_pod_in_flight() {
    let mut books = decider(false, &[("n1", shared(9)), ("n2", shared(2)), ("n3", shared(1))]);
    assert_eq!(filter(&mut books, 1, &pod("a"), &["n1", "n2", "n3"]), ["n1", "n2"]);
    assert_eq!(filter(&mut books, 1, &pod("b"), &["n1", "n2", "n3"]), ["n1"]);
    assert_eq!(filter(&mut books, 1, &pod("c"), &["n2", "n3"]).len(), 1);
}

#[test]
fn a_pod_without_a_choice_is_not_put_beside_others_while_a_node_is_empty() {
    let nodes = ["n1", "n2", "n3", "n4"];
    for last in ["f", "g", "h", "i", "j", "k", "l", "m"] {
        let mut books = decider(false, &nodes.map(|n| (n, shared(4))));
        for earlier in ["a", "b"] {
            books.pod(at(0), &bound(earlier, "n1", 2));
        }
        // Offered to pods of which each takes one of them at the end, so that no node has room for all that are in flight.
        for in_flight in ["c", "d", "e"] {
            filter(&mut books, 1, &pod(in_flight), &["n2", "n3", "n4"]);
        }
        let chosen = filter(&mut books, 1, &pod(last), &nodes);
        assert_eq!(chosen.len(), 1);
        assert_ne!(chosen, ["n1"], "it has two pods, another has none");
    }
}

#[test]
fn a_hold_ends_with_binding_deletion_failure_or_time() {
    let offered = |books: &mut Decider, now| filter(books, now, &pod("b"), &["n1"]).len();
    let mut books = decider(false, &[("n1", shared(1)), ("n2", shared(1))]);
    filter(&mut books, 1, &pod("a"), &["n1"]);
    books.pod(at(1), &bound("a", "n2", 5));
    assert_eq!(offered(&mut books, 2), 1, "bound elsewhere");

    let mut books = decider(false, &[("n1", shared(1))]);
    filter(&mut books, 1, &pod("a"), &["n1"]);
    books.pod(at(1), &pod("a"));
    books.pod_gone(at(1), &PodFacts { version: Some(6), ..pod("a") });
    assert_eq!(offered(&mut books, 2), 1, "deleted before it was bound");

    let mut books = decider(false, &[("n1", shared(1))]);
    filter(&mut books, 1, &pod("a"), &["n1"]);
    books.pod(at(3), &failed("a", 1, "x"));
    assert_eq!(offered(&mut books, 3), 0, "what was said before the filter call");
    books.pod(at(3), &failed("a", 2, "x"));
    assert_eq!(offered(&mut books, 3), 1, "the cycle failed");

    let mut books = decider(false, &[("n1", shared(1))]);
    filter(&mut books, 1, &pod("a"), &["n1"]);
    assert_eq!(offered(&mut books, 30), 0);
    assert_eq!(offered(&mut books, 31), 1, "time");
}

#[test]
fn the_echo_of_an_earlier_cycle_does_not_release_a_hold() {
    let mut books = decider(false, &[("n1", shared(1))]);
    assert_eq!(filter(&mut books, 1, &pod("a"), &["n1"]), ["n1"]);
    // Perhaps written about the cycle before; the scheduler's copy in the filter call was older.
    books.pod(at(1), &failed("a", 9, "x"));
    assert!(filter(&mut books, 1, &pod("b"), &["n1"]).is_empty());
    // A cycle that goes well has ended a second later.
    assert_eq!(filter(&mut books, 2, &pod("b"), &["n1"]), ["n1"]);
    assert_eq!(books.figures().tally.holds_ended, 0, "it did not run out");
}

#[test]
fn a_label_of_a_pod_that_failed_once_does_not_release_its_hold() {
    let mut books = decider(false, &[("n1", shared(1))]);
    books.pod(at(1), &failed("a", 5, "x"));
    assert_eq!(filter(&mut books, 2, &failed("a", 5, "x"), &["n1"]), ["n1"]);
    // Its condition is still that of the cycle before.
    books.pod(at(4), &failed("a", 6, "x"));
    assert!(filter(&mut books, 5, &pod("b"), &["n1"]).is_empty());
    // The scheduler's copy was newer than ours, or ours than the scheduler's.
    assert_eq!(filter(&mut books, 6, &failed("a", 8, "y"), &["n1"]), ["n1"]);
    books.pod(at(8), &failed("a", 9, "y"));
    assert_eq!(filter(&mut books, 9, &failed("a", 7, "x"), &["n1"]), ["n1"]);
    books.pod(at(11), &failed("a", 10, "y"));
    assert!(filter(&mut books, 12, &pod("b"), &["n1"]).is_empty());
    // Nor is it released by our own refusal.
    books.pod(at(13), &failed("a", 11, "0/1 nodes are available: 1 tideway: no room"));
    assert!(filter(&mut books, 14, &pod("b"), &["n1"]).is_empty());
}

#[test]
fn a_cycle_that_failed_at_once_does_not_hold_its_unit_for_half_a_minute() {
    let mut books = decider(false, &[("n1", shared(1)), ("n2", shared(1))]);
    assert_eq!(filter(&mut books, 1, &pod("a"), &["n1"]), ["n1"]);
    // The scheduler shows it itself, in its next question.
    assert_eq!(filter(&mut books, 3, &failed("a", 5, "x"), &["n2"]), ["n2"]);
    assert_eq!(filter(&mut books, 3, &pod("b"), &["n1"]), ["n1"]);
}

#[test]
fn units_whose_pods_were_deleted_while_we_were_away_do_not_hide_behind_new_pods() {
    let mut books = Decider::new(Policy { caution: Duration::ZERO, ..policy(true) });
    // Three pods with sandboxes; two of them are gone, and the daemon has not seen it when it writes this.
    books.report("n1", Some(Report { shared_assigned: 3, pods_version: Some(10), ..shared(5) }));
    books.pods_list(at(0), List::Begins);
    books.pod(at(0), &PodFacts { addressed: true, ..bound("c", "n1", 9) });
    // Bound, and without a sandbox yet: it explains nothing.
    books.pod(at(0), &bound("d", "n1", 14));
    books.pods_list(at(0), List::Ends(Some(15)));
    books.ready(at(0));
    assert_eq!(filter(&mut books, 1, &pod("e"), &["n1"]), ["n1"], "five less a, b, c, d");
    assert!(filter(&mut books, 1, &pod("f"), &["n1"]).is_empty());
    let report =
        Report { shared_assigned: 4, shared_leaving: 2, pods_version: Some(15), ..shared(5) };
    books.report("n1", Some(report));
    assert!(filter(&mut books, 2, &pod("f"), &["n1"]).is_empty());
    books.report("n1", Some(Report { shared_assigned: 2, pods_version: Some(16), ..shared(5) }));
    assert_eq!(filter(&mut books, 3, &pod("f"), &["n1"]), ["n1"]);
}

#[test]
fn a_unit_whose_pod_shows_its_address_after_the_list_is_counted_twice_until_a_report_accounts_for_it()
 {
    let mut books = Decider::new(Policy { caution: Duration::ZERO, ..policy(true) });
    let report = Report { shared_assigned: 1, pods_version: Some(10), ..shared(2) };
    books.report("n1", Some(report.clone()));
    books.pods_list(at(0), List::Begins);
    books.pod(at(0), &bound("a", "n1", 9));
    books.pods_list(at(0), List::Ends(Some(15)));
    books.ready(at(0));
    books.pod(at(1), &PodFacts { addressed: true, ..bound("a", "n1", 16) });
    assert!(filter(&mut books, 1, &pod("b"), &["n1"]).is_empty(), "it may be another pod's unit");
    // The daemon has nothing new to tell but that.
    books.report("n1", Some(Report { pods_version: Some(16), ..report }));
    assert_eq!(filter(&mut books, 2, &pod("b"), &["n1"]), ["n1"]);
}

#[test]
fn a_report_that_has_seen_all_deletions_is_taken_at_its_word() {
    let mut books = Decider::new(Policy { caution: Duration::ZERO, ..policy(true) });
    // The pod behind the unit was bound after the list was made.
    books.report("n1", Some(Report { shared_assigned: 1, pods_version: Some(20), ..shared(2) }));
    books.pods_list(at(0), List::Begins);
    books.pods_list(at(0), List::Ends(Some(15)));
    books.ready(at(0));
    books.pod(at(1), &bound("a", "n1", 18));
    assert_eq!(filter(&mut books, 1, &pod("b"), &["n1"]), ["n1"]);
}

#[test]
fn an_ended_pod_of_a_list_does_not_keep_its_unit_for_ever() {
    let ended = |name| PodFacts { ended: true, ..bound(name, "n1", 30) };
    let mut books = Decider::new(Policy { caution: Duration::ZERO, ..policy(true) });
    // The daemon saw the end at version 20, and tells nothing of the label of version 30.
    books.report("n1", Some(Report { pods_version: Some(20), ..shared(2) }));
    books.pods_list(at(0), List::Begins);
    books.pod(at(0), &ended("a"));
    books.pods_list(at(0), List::Ends(Some(40)));
    books.ready(at(0));
    books.pods_list(at(1), List::Begins);
    books.pod(at(1), &ended("a"));
    books.pod(at(1), &ended("b"));
    books.pods_list(at(1), List::Ends(Some(50)));
    assert!(filter(&mut books, 2, &pod("x"), &["n1"]).is_empty());
    assert_eq!(filter(&mut books, 620, &pod("x"), &["n1"]), ["n1"], "ten minutes after its rest");
    books.pod(at(620), &bound("x", "n1", 60));
    // One whose end was seen is accounted for at exactly that version.
    books.pod(at(621), &ended("c"));
    assert!(filter(&mut books, 9000, &pod("y"), &["n1"]).is_empty());
}

#[test]
fn a_new_filter_call_does_not_release_what_an_earlier_cycle_may_have_used() {
    let mut books = decider(false, &[("n1", shared(1)), ("n2", shared(1))]);
    assert_eq!(filter(&mut books, 1, &pod("a"), &["n1"]), ["n1"]);
    assert_eq!(filter(&mut books, 2, &pod("a"), &["n2"]), ["n2"]);
    assert!(filter(&mut books, 3, &pod("b"), &["n1", "n2"]).is_empty());
    assert_eq!(filter(&mut books, 31, &pod("b"), &["n1", "n2"]), ["n1"]);
}

#[test]
fn a_pod_that_waits_for_a_volume_holds_one_node_for_as_long_as_that_may_take() {
    let mut books = decider(false, &[("n1", shared(9)), ("n2", shared(9))]);
    let a = PodFacts { claims: vec!["c".into()], ..pod("a") };
    // The watch of the claims may be later than the question.
    assert_eq!(filter(&mut books, 1, &a, &["n1", "n2"]).len(), 1, "an unknown claim");
    books.claim("default", "c", false);
    assert_eq!(filter(&mut books, 1, &a, &["n1", "n2"]).len(), 1);
    books.tick(at(600));
    assert_eq!(books.figures().in_flight, 1);
    books.tick(at(631));
    assert_eq!(books.figures().in_flight, 0);
    books.claim("default", "c", true);
    assert_eq!(filter(&mut books, 640, &a, &["n1", "n2"]).len(), 2);
}

#[test]
fn a_deleted_pods_unit_is_leaving_until_a_report_accounts_for_the_deletion() {
    let mut books = decider(true, &[("n1", Report { shared_assigned: 1, ..shared(1) })]);
    books.pod(at(1), &bound("a", "n1", 5));
    books.pod_gone(at(2), &bound("a", "n1", 7));
    books.report("n1", Some(Report { shared_assigned: 1, pods_version: Some(6), ..shared(1) }));
    assert!(filter(&mut books, 9000, &pod("b"), &["n1"]).is_empty(), "no limit in strict mode");
    let leaving =
        Report { shared_assigned: 1, shared_leaving: 1, pods_version: Some(7), ..shared(1) };
    books.report("n1", Some(leaving));
    assert!(filter(&mut books, 9001, &pod("b"), &["n1"]).is_empty(), "the sandbox is still there");
    books.report("n1", Some(Report { shared_cooling: 1, pods_version: Some(7), ..shared(1) }));
    assert!(filter(&mut books, 9002, &pod("b"), &["n1"]).is_empty(), "it rests");
    books.report("n1", Some(Report { pods_version: Some(7), ..shared(1) }));
    assert_eq!(filter(&mut books, 9003, &pod("b"), &["n1"]), ["n1"]);
}

#[test]
fn in_default_mode_a_silent_daemon_does_not_keep_a_unit_for_ever() {
    let mut books = decider(false, &[("n1", shared(1))]);
    books.pod(at(1), &bound("a", "n1", 5));
    books.pod_gone(at(2), &bound("a", "n1", 7));
    assert!(filter(&mut books, 71, &pod("b"), &["n1"]).is_empty());
    assert_eq!(filter(&mut books, 73, &pod("b"), &["n1"]), ["n1"]);
    assert_eq!(books.figures().tally.leaving_given_up, 1);
}

#[test]
fn a_pod_that_a_list_lost_is_leaving_too() {
    let mut books = decider(true, &[("n1", shared(1))]);
    books.pod(at(1), &bound("a", "n1", 5));
    books.pods_list(at(2), List::Begins);
    books.pods_list(at(2), List::Ends(Some(20)));
    assert!(filter(&mut books, 3, &pod("b"), &["n1"]).is_empty());
    books.report("n1", Some(Report { pods_version: Some(20), ..shared(1) }));
    assert_eq!(filter(&mut books, 4, &pod("b"), &["n1"]), ["n1"]);
}

#[test]
fn only_pods_that_need_an_address_take_one() {
    let mut books = decider(false, &[("n1", shared(2))]);
    let host = |name| PodFacts { wants: Wants::of_pod(0, 0, true), ..bound(name, "n1", 3) };
    books.pod(at(1), &host("on-the-host"));
    books.pod(at(1), &PodFacts { ended: true, version: Some(1), ..bound("ended", "n1", 1) });
    books.pod(at(1), &PodFacts { ours: false, ..bound("of-another-scheduler", "n1", 4) });
    books.pod(at(1), &PodFacts { deleting: true, ..bound("ending", "n1", 5) });
    assert!(filter(&mut books, 2, &pod("b"), &["n1"]).is_empty());
    assert_eq!(books.filter(at(2), &host("c"), &["n1"]), Choice::Any);
    // It ends: first its containers, then it is deleted. One unit, leaving once.
    books.pod(at(3), &PodFacts { ended: true, ..bound("ending", "n1", 8) });
    books.pod_gone(at(3), &PodFacts { ended: true, ..bound("ending", "n1", 9) });
    books.report("n1", Some(Report { pods_version: Some(8), ..shared(2) }));
    assert_eq!(filter(&mut books, 4, &pod("b"), &["n1"]), ["n1"]);
}

#[test]
fn after_a_start_the_last_units_are_left_to_pods_that_may_be_on_their_way() {
    let mut books = Decider::new(policy(false));
    books.report("n1", Some(shared(3)));
    for name in ["x", "y"] {
        books.pod(at(0), &pod(name));
    }
    books.ready(at(0));
    assert_eq!(filter(&mut books, 1, &pod("a"), &["n1"]), ["n1"], "3 > 2");
    assert!(filter(&mut books, 1, &pod("b"), &["n1"]).is_empty(), "2 left, 2 may come");
    // One of them is asked for: it is not in flight.
    assert_eq!(filter(&mut books, 2, &pod("x"), &["n1"]), ["n1"], "2 > 1");
    for second in 3..10 {
        books.tick(at(second));
    }
    assert_eq!(filter(&mut books, 10, &pod("c"), &["n1"]), ["n1"], "the caution is over");
}

#[test]
fn a_subnet_that_is_nearly_full_is_not_promised_on_two_nodes() {
    let growing = |held| Report { shared_held: held, subnets: vec![("s".into(), 1)], ..shared(5) };
    let mut books = decider(false, &[("n1", growing(0)), ("n2", growing(0)), ("n3", growing(1))]);
    assert_eq!(filter(&mut books, 1, &pod("a"), &["n1"]), ["n1"]);
    assert!(filter(&mut books, 1, &pod("b"), &["n2"]).is_empty());
    assert_eq!(filter(&mut books, 1, &pod("c"), &["n3"]), ["n3"], "it has one already");
}

#[test]
fn one_pod_does_not_claim_a_subnet_once_for_each_node_that_it_holds() {
    let names: Vec<String> = (0..20).map(|i| format!("n{i}")).collect();
    let report = Report { shared_held: 0, subnets: vec![("s".into(), 25)], ..shared(30) };
    let list: Vec<(&str, Report)> = names.iter().map(|n| (n.as_str(), report.clone())).collect();
    let mut books = decider(false, &list);
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    for (now, name) in [(1, "a"), (1, "b"), (1, "c")] {
        assert!(filter(&mut books, now, &pod(name), &all).len() > 1, "{name}");
    }
    // However much is held: what is promised is there.
    let mut given = 0;
    for i in 0..60 {
        given += usize::from(!filter(&mut books, 2, &pod(&format!("p{i}")), &all).is_empty());
    }
    assert!((8..=22).contains(&given), "{given} of what 25 addresses are enough for");
}

#[test]
fn what_a_node_took_from_a_subnet_is_not_promised_again() {
    let growing = |held| Report { shared_held: held, subnets: vec![("s".into(), 1)], ..shared(5) };
    let mut books = decider(false, &[("n1", growing(0)), ("n2", growing(0))]);
    books.pod(at(0), &bound("a", "n1", 2));
    // The daemon took the last address, and repeats what it was told of the subnet before.
    books.report("n1", Some(Report { shared_assigned: 1, ..growing(1) }));
    assert!(filter(&mut books, 1, &pod("b"), &["n2"]).is_empty());
    books.report("n2", Some(Report { subnets: vec![("s".into(), 2)], ..growing(0) }));
    assert_eq!(filter(&mut books, 2, &pod("b"), &["n2"]), ["n2"], "a new figure");
}

#[test]
fn nodes_without_tideway_take_pods_that_need_nothing_special() {
    let mut books = decider(false, &[("n1", shared(1))]);
    assert_eq!(filter(&mut books, 1, &pod("a"), &["new", "n1"]), ["new"]);
    assert!(filter(&mut books, 1, &exclusive(pod("b")), &["new"]).is_empty());
    // The daemon's object exists, but it has not spoken: that is a Tideway node.
    books.report("new", Some(Report::default()));
    assert!(filter(&mut books, 1, &pod("c"), &["new"]).is_empty());
}

#[test]
fn a_strict_lease_is_room_for_its_pod_alone() {
    let report =
        Report { shared_unusable: 1, strict_leases: vec!["default/db-0".into()], ..shared(1) };
    let mut books = decider(false, &[("n1", report), ("n2", shared(5))]);
    assert!(filter(&mut books, 1, &pod("other"), &["n1"]).is_empty());
    assert_eq!(filter(&mut books, 1, &pod("db-0"), &["n1"]), ["n1"]);
    assert_eq!(books.prioritize("db-0", &["n1", "n2"]), [10, 10]);
}

#[test]
fn a_bind_of_unknown_outcome_keeps_its_unit_until_it_is_decided() {
    let mut books = decider(true, &[("n1", shared(1)), ("n2", shared(1))]);
    let a: Uid = "a".into();
    filter(&mut books, 1, &pod("a"), &["n1"]);
    assert_eq!(books.bind(at(1), &a, ("default", "a"), "n1", None), BindStart::Go);
    books.bind_ended(at(9), &a, "n1", &BindEnd::Unknown);
    assert!(filter(&mut books, 60, &pod("b"), &["n1"]).is_empty());
    // The scheduler tries it again: it may be on n1, so it can only go there.
    assert_eq!(filter(&mut books, 60, &pod("a"), &["n1", "n2"]), ["n1"]);
    books.looked(at(61), &a, &BindEnd::Waiting);
    assert!(
        filter(&mut books, 62, &pod("b"), &["n1"]).is_empty(),
        "the call may still be executed"
    );
    books.looked(at(90), &a, &BindEnd::Waiting);
    assert_eq!(filter(&mut books, 91, &pod("b"), &["n1"]), ["n1"]);
}

#[test]
fn a_refused_retry_does_not_give_up_a_bind_of_unknown_outcome() {
    let mut books = decider(true, &[("n1", shared(1)), ("n2", shared(1))]);
    let a: Uid = "a".into();
    let bind = |books: &mut Decider, now| {
        assert_eq!(books.bind(at(now), &a, ("default", "a"), "n1", None), BindStart::Go);
    };
    filter(&mut books, 1, &pod("a"), &["n1"]);
    bind(&mut books, 1);
    books.bind_ended(at(9), &"a".into(), "n1", &BindEnd::Unknown);
    // The API server has just started, and does not know our rights yet; what it executed before its end stands.
    bind(&mut books, 10);
    books.bind_ended(at(11), &"a".into(), "n1", &BindEnd::Refused);
    assert!(filter(&mut books, 12, &pod("b"), &["n1"]).is_empty());
    assert_eq!(filter(&mut books, 12, &pod("a"), &["n1", "n2"]), ["n1"]);
    // Nor when both were on their way at the same time.
    bind(&mut books, 13);
    bind(&mut books, 13);
    books.bind_ended(at(14), &"a".into(), "n1", &BindEnd::Unknown);
    books.bind_ended(at(15), &"a".into(), "n1", &BindEnd::Refused);
    assert!(filter(&mut books, 16, &pod("b"), &["n1"]).is_empty());
    assert_eq!(books.unsure(at(17)).len(), 1, "a look decides");
    books.looked(at(17), &"a".into(), &BindEnd::On("n1".into()));
    assert!(filter(&mut books, 18, &pod("b"), &["n1"]).is_empty());
}

#[test]
fn bind_is_idempotent_and_refuses_what_has_gone_to_another() {
    let mut books = decider(true, &[("n1", shared(1))]);
    let (a, b): (Uid, Uid) = ("a".into(), "b".into());
    filter(&mut books, 1, &pod("a"), &["n1"]);
    // a's hold runs out, b takes the unit and is bound.
    assert_eq!(filter(&mut books, 40, &pod("b"), &["n1"]), ["n1"]);
    assert_eq!(books.bind(at(41), &b, ("default", "b"), "n1", None), BindStart::Go);
    assert_eq!(books.bind(at(41), &b, ("default", "b"), "n1", None), BindStart::Go, "asked twice");
    books.bind_ended(at(42), &b, "n1", &BindEnd::On("n1".into()));
    books.bind_ended(at(42), &b, "n1", &BindEnd::On("n1".into()));
    books.pod(at(43), &pod("a"));
    let late = books.bind(at(43), &a, ("default", "a"), "n1", None);
    assert!(matches!(late, BindStart::Refused(_)), "{late:?}");
    books.pod(at(44), &bound("b", "n1", 9));
    assert_eq!(books.bind(at(45), &b, ("default", "b"), "n1", None), BindStart::Done);
    let stranger: Uid = "s".into();
    assert_eq!(books.bind(at(45), &stranger, ("default", "s"), "n1", None), BindStart::Stranger);
}

#[test]
fn names_of_nodes_that_came_and_went_do_not_pile_up() {
    let mut books = decider(false, &[("n1", shared(1))]);
    for round in 0..1000_u64 {
        let name = format!("spot-{round}");
        let now = at(round * 700);
        books.node(&NodeFacts { name: name.clone(), zone: None, schedulable: true, serves: true });
        books.report(&name, Some(shared(1)));
        let pod = bound(&format!("p{round}"), &name, 5);
        books.pod(now, &pod);
        books.node_gone(&name);
        books.report(&name, None);
        books.tick(now);
        assert!(books.nodes.id(&name).is_some(), "its pod is still listed");
        books.pod_gone(now, &pod);
    }
    assert!(books.nodes.iter().count() < 10, "{} nodes", books.nodes.iter().count());
    assert_eq!(filter(&mut books, 700_001, &pod("a"), &["n1"]), ["n1"]);
}

//! Which nodes are offered, what limits them, and what is counted where a limit was passed over.

use super::*;

fn many(count: usize, report: &Report) -> (Vec<String>, Vec<Report>) {
    ((0..count).map(|i| format!("n{i}")).collect(), vec![report.clone(); count])
}

fn offered(short_list: usize, pod: &PodFacts) -> usize {
    let (names, reports) = many(10, &shared(20));
    let mut books = Decider::new(Policy { short_list, caution: Duration::ZERO, ..policy(false) });
    for (name, report) in names.iter().zip(reports) {
        books.report(name, Some(report));
    }
    books.ready(at(0));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    filter(&mut books, 1, pod, &names).len()
}

#[test]
fn a_pod_that_prefers_some_nodes_loses_no_candidates() {
    assert_eq!(offered(3, &pod("a")), 3);
    assert_eq!(offered(3, &PodFacts { choosy: true, ..pod("a") }), 10);
    assert_eq!(offered(0, &pod("a")), 10, "no short-list at all");
}

#[test]
fn a_node_that_cannot_reach_the_cloud_has_what_it_holds_and_no_more() {
    let report = Report { grows: false, shared_held: 2, ..shared(5) };
    let mut books = decider(false, &[("n1", report)]);
    assert_eq!(books.figures().free.shared, 2);
    assert_eq!(filter(&mut books, 1, &pod("a"), &["n1"]), ["n1"]);
    assert_eq!(filter(&mut books, 1, &pod("b"), &["n1"]), ["n1"]);
    let Choice::Nobody(refusal) = books.filter(at(1), &pod("c"), &["n1"]) else {
        panic!("a third one")
    };
    assert!(refusal.text.contains("the cloud cannot be reached"), "{}", refusal.text);
    // A pod that holds its unit already has it still.
    assert_eq!(filter(&mut books, 2, &pod("b"), &["n1"]), ["n1"]);
}

#[test]
fn a_hold_that_refused_a_pod_wakes_it_when_it_ends() {
    let wakes = |books: &mut Decider, now| -> Vec<String> {
        books.tick(at(now));
        books.wakes(at(now)).into_iter().map(|w| w.name).collect()
    };
    let mut books = decider(false, &[("n1", shared(1))]);
    books.pod(at(0), &pod("a"));
    filter(&mut books, 1, &pod("a"), &["n1"]);
    assert!(filter(&mut books, 2, &pod("b"), &["n1"]).is_empty());
    assert!(wakes(&mut books, 30).is_empty());
    assert_eq!(wakes(&mut books, 31), ["b"], "it ran out");
    assert_eq!(filter(&mut books, 32, &pod("b"), &["n1"]), ["n1"]);
    assert!(filter(&mut books, 33, &pod("c"), &["n1"]).is_empty());
    books.pod_gone(at(34), &pod("b"));
    assert_eq!(wakes(&mut books, 34), ["c"], "its pod was deleted");
}

#[test]
fn no_more_than_so_many_pods_are_woken_at_once_and_in_a_second() {
    let mut books = decider(false, &[("n1", shared(0))]);
    for i in 0..1000 {
        let choice = books.filter(at(1), &pod(&format!("p{i}")), &["n1"]);
        assert!(matches!(choice, Choice::Nobody(_)));
    }
    books.report("n1", Some(shared(1000)));
    assert_eq!(books.wakes(at(10)).len(), 200);
    let next: usize =
        (1..=4).map(|look| books.wakes(at(10) + Duration::from_millis(look * 250)).len()).sum();
    assert_eq!(next, 50);
}

#[test]
fn members_of_a_trunk_are_counted_beside_everything_else() {
    let member =
        |name: &str, units| PodFacts { wants: Wants::of_pod(0, units, false), ..pod(name) };
    let report = Report {
        member_limit: 6,
        member_assigned: 2,
        member_leaving: 1,
        member_unusable: 1,
        subnets: vec![("s".into(), 2)],
        ..shared(4)
    };
    let mut books = decider(true, &[("n1", report)]);
    books.pod(at(0), &PodFacts { node: Some("n1".into()), ..member("bound", 1) });
    assert_eq!(books.figures().free.member, 2, "3 by the trunk, and 2 by its subnet");
    assert!(filter(&mut books, 1, &member("three", 3), &["n1"]).is_empty());
    assert_eq!(filter(&mut books, 1, &member("a", 2), &["n1"]), ["n1"]);
    assert!(filter(&mut books, 1, &member("b", 1), &["n1"]).is_empty());
    assert_eq!(filter(&mut books, 1, &pod("shared"), &["n1"]), ["n1"]);
    // What leaves and rests is soon there.
    let waits = PodFacts { nominated: Some("n1".into()), priority: 1, ..member("b", 2) };
    let Choice::Nobody(refusal) = books.filter(at(2), &waits, &["n1"]) else { panic!("no room") };
    assert_eq!(refusal.wait, [0]);
}

#[test]
fn a_pod_of_ours_that_is_bound_where_no_unit_was_left_is_counted() {
    let mut books = decider(false, &[("n1", shared(1))]);
    filter(&mut books, 1, &pod("held"), &["n1"]);
    books.pod(at(1), &bound("held", "n1", 2));
    assert_eq!(books.figures().tally.overshoots, 0);
    books.pod(at(2), &PodFacts { ours: false, ..bound("other", "n1", 3) });
    assert_eq!(books.figures().tally.overshoots, 0, "another scheduler does not ask us");
    books.pod(at(3), &bound("unasked", "n1", 4));
    assert_eq!(books.figures().tally.overshoots, 1);
    books.pod(at(4), &bound("unasked", "n1", 5));
    assert_eq!(books.figures().tally.overshoots, 1, "once");
}

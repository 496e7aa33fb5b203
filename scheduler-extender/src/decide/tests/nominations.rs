//! Pods that were shown a part of the nodes only, and are sent to a node with room.

use super::*;

/// Books with so many full nodes, `full0` and so on, and the others.
fn books(full: usize, others: &[(&str, Report)]) -> (Decider, Vec<String>) {
    let names: Vec<String> = (0..full).map(|i| format!("full{i}")).collect();
    let list = names.iter().map(|n| (n.as_str(), shared(0)));
    let list: Vec<(&str, Report)> = list.chain(others.iter().cloned()).collect();
    (decider(false, &list), names)
}

/// The pod is refused on the nodes that the scheduler showed.
fn refuse(books: &mut Decider, now: u64, pod: &PodFacts, shown: &[String]) -> Refusal {
    match books.filter(at(now), pod, shown) {
        Choice::Nobody(refusal) => refusal,
        other @ (Choice::Any | Choice::Nodes(_)) => panic!("{other:?}"),
    }
}

/// Who is woken, and to which node each is sent.
fn sent(books: &mut Decider, now: u64) -> Vec<(String, Option<String>)> {
    books.tick(at(now));
    let mut sent: Vec<_> = books.wakes(at(now)).into_iter().map(|w| (w.name, w.node)).collect();
    sent.sort();
    sent
}

fn to(pod: &str, node: &str) -> (String, Option<String>) {
    (pod.into(), Some(node.into()))
}

/// As the watch and the scheduler show it after that.
fn nominated(name: &str, node: &str) -> PodFacts {
    PodFacts { nominated: Some(node.into()), version: Some(9), ..pod(name) }
}

#[test]
fn two_refused_pods_are_not_sent_to_one_last_unit() {
    let (mut books, shown) = books(150, &[("x", shared(1)), ("y", shared(1))]);
    for name in ["a", "b", "c"] {
        refuse(&mut books, 1, &pod(name), &shown[..120]);
    }
    let all = sent(&mut books, 2);
    let nodes: Vec<_> = all.iter().map(|(_, node)| node.as_deref().unwrap()).collect();
    assert!(nodes == ["x", "y"] || nodes == ["y", "x"], "{all:?}");
    assert!(sent(&mut books, 4).is_empty(), "no unit is left for the third");
    // The scheduler comes with both; nobody else gets in meanwhile.
    for (name, node) in &all {
        let node = node.as_deref().unwrap();
        assert!(filter(&mut books, 4, &pod("other"), &[node]).is_empty());
        assert_eq!(filter(&mut books, 4, &nominated(name, node), &[node]), [node]);
    }
}

#[test]
fn a_nomination_that_leads_to_nothing_holds_its_unit_for_some_seconds_and_no_longer() {
    let (mut books, shown) = books(150, &[("x", shared(1))]);
    refuse(&mut books, 1, &pod("a"), &shown[..120]);
    assert_eq!(sent(&mut books, 2), [to("a", "x")]);
    books.pod(at(3), &nominated("a", "x"));
    assert!(filter(&mut books, 11, &pod("other"), &["x"]).is_empty());
    // Also while the API still shows it, and among equals: it cleared nothing.
    assert_eq!(filter(&mut books, 12, &pod("other"), &["x"]), ["x"]);
    assert_eq!(books.figures().tally, Tally::default());
    // The node is full now, and it is tried the ordinary way.
    refuse(&mut books, 13, &nominated("a", "x"), &["x".into()]);
    refuse(&mut books, 13, &nominated("a", "x"), &shown[..120]);
    books.pod_gone(at(14), &pod("other"));
    assert_eq!(sent(&mut books, 15), [("a".into(), None)]);
}

#[test]
fn a_node_that_the_scheduler_passes_over_is_given_back_at_once() {
    let (mut books, shown) = books(150, &[("x", shared(1))]);
    refuse(&mut books, 1, &pod("a"), &shown[..120]);
    assert_eq!(sent(&mut books, 2), [to("a", "x")]);
    // A question that was older than the nomination says nothing.
    refuse(&mut books, 3, &pod("a"), &shown[..120]);
    assert!(filter(&mut books, 3, &pod("other"), &["x"]).is_empty());
    // In-tree filters refused the node: we are asked about others.
    refuse(&mut books, 4, &nominated("a", "x"), &shown[..120]);
    assert_eq!(filter(&mut books, 4, &pod("other"), &["x"]), ["x"]);
}

#[test]
fn a_pod_that_finds_room_itself_gives_back_the_node_that_it_was_sent_to() {
    let (mut books, shown) = books(150, &[("x", shared(1))]);
    refuse(&mut books, 1, &pod("a"), &shown[..120]);
    assert_eq!(sent(&mut books, 2), [to("a", "x")]);
    books.report("full3", Some(shared(1)));
    assert_eq!(filter(&mut books, 3, &pod("a"), &["full2", "full3"]), ["full3"]);
    assert_eq!(filter(&mut books, 3, &pod("b"), &["x"]), ["x"]);
    // What it was offered ends with its cycle: it was not held before.
    books.pod(at(5), &failed("a", 10, "Reserve says no"));
    assert_eq!(filter(&mut books, 5, &pod("c"), &["full3"]), ["full3"]);
}

#[test]
fn a_nomination_of_ours_is_no_preemption() {
    let (mut books, shown) = books(150, &[("x", shared(1)), ("y", shared(1))]);
    books.pod(at(0), &bound("v", "y", 2));
    let strong = PodFacts { priority: 5, ..pod("a") };
    refuse(&mut books, 1, &strong, &shown[..120]);
    assert_eq!(sent(&mut books, 2), [to("a", "x")]);
    let strong = PodFacts { priority: 5, ..nominated("a", "x") };
    books.pod(at(3), &strong);
    // The node lost its address meanwhile, and another one will be free there soon.
    books.report("x", Some(Report { shared_cooling: 1, ..shared(1) }));
    assert!(refuse(&mut books, 4, &strong, &["x".into()]).wait.is_empty(), "it cleared nothing");
    let victims = [Victims { node: "y", pods: &["v"] }];
    assert_eq!(books.preempt(at(4), &strong, &victims), [true], "it evicted nobody yet");
    let cleared = PodFacts { nominated: Some("y".into()), version: Some(12), ..strong };
    books.pod(at(5), &cleared);
    books.pod_gone(at(5), &bound("v", "y", 13));
    books.report("y", Some(Report { pods_version: Some(13), ..shared(1) }));
    assert!(filter(&mut books, 6, &pod("other"), &["y"]).is_empty(), "preemption cleared it");
}

#[test]
fn only_pods_that_were_shown_a_part_and_take_any_node_are_sent() {
    let (mut books, shown) = books(150, &[("x", shared(9))]);
    refuse(&mut books, 1, &PodFacts { choosy: true, ..pod("choosy") }, &shown[..120]);
    refuse(
        &mut books,
        1,
        &PodFacts { claims: vec!["data".into()], ..pod("volume") },
        &shown[..120],
    );
    refuse(&mut books, 1, &pod("any"), &shown[..120]);
    let all = sent(&mut books, 2);
    assert_eq!(all, [to("any", "x"), ("choosy".into(), None), ("volume".into(), None)]);
    // Room came free where the scheduler looked: it can choose itself.
    let (mut books, shown) = self::books(150, &[("x", shared(9))]);
    refuse(&mut books, 1, &pod("a"), &shown[..120]);
    books.report("full7", Some(shared(1)));
    assert_eq!(sent(&mut books, 2), [("a".into(), None)]);
    // Where all nodes are shown, the room came later.
    let (mut books, shown) = self::books(120, &[]);
    refuse(&mut books, 1, &pod("a"), &shown);
    books.report("full7", Some(shared(1)));
    assert_eq!(sent(&mut books, 2), [("a".into(), None)]);
}

#[test]
fn a_node_that_is_cordoned_or_kept_for_others_is_nowhere_to_send_pods() {
    let lease =
        Report { shared_unusable: 1, strict_leases: vec!["default/db-0".into()], ..shared(3) };
    let (mut books, shown) =
        books(150, &[("cordoned", shared(5)), ("leased", lease), ("x", shared(2))]);
    let node = NodeFacts { name: "cordoned".into(), zone: None, schedulable: false, serves: false };
    books.node(&node);
    for name in ["a", "b"] {
        refuse(&mut books, 1, &pod(name), &shown[..120]);
    }
    assert_eq!(sent(&mut books, 2), [to("a", "x"), to("b", "x")]);
}

#[test]
fn a_pod_that_was_nominated_and_lost_is_woken_again() {
    let (mut books, shown) = books(150, &[("x", shared(2))]);
    refuse(&mut books, 1, &pod("a"), &shown[..120]);
    assert_eq!(sent(&mut books, 2), [to("a", "x")]);
    assert!(sent(&mut books, 8).is_empty());
    assert_eq!(sent(&mut books, 9), [("a".into(), None)]);
}

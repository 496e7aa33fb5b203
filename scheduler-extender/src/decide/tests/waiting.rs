//! Pods that were refused: what they are told, who is woken, who may evict.

use super::*;

fn refusal(decider: &mut Decider, now: u64, pod: &PodFacts, names: &[&str]) -> Refusal {
    match decider.filter(at(now), pod, names) {
        Choice::Nobody(refusal) => refusal,
        other @ (Choice::Any | Choice::Nodes(_)) => panic!("{other:?}"),
    }
}

fn woken(decider: &mut Decider, now: u64) -> Vec<String> {
    let mut names: Vec<String> = decider.wakes(at(now)).into_iter().map(|w| w.name).collect();
    names.sort();
    names
}

#[test]
fn a_refusal_has_one_text_for_all_nodes_that_stays_for_half_a_minute() {
    let nodes: Vec<(String, Report)> = (0..20).map(|i| (format!("n{i}"), shared(1))).collect();
    let list: Vec<(&str, Report)> = nodes.iter().map(|(n, r)| (n.as_str(), r.clone())).collect();
    let mut books = decider(false, &list);
    for i in 0..20 {
        books.pod(at(0), &bound(&format!("p{i}"), &format!("n{i}"), 2));
    }
    let first = refusal(&mut books, 1, &pod("a"), &["n1", "n2", "n3"]).text;
    for i in 0..10 {
        books.pod_gone(at(2), &bound(&format!("p{i}"), &format!("n{i}"), 30));
    }
    assert_eq!(refusal(&mut books, 30, &pod("b"), &["n1", "n9", "n12"]).text, first);
    assert!(!first.contains("n1"), "{first}");
    let later = refusal(&mut books, 32, &pod("a"), &["n1", "n2", "n3"]).text;
    assert!(later.contains("cooling or leaving about 10"), "{later}");
    assert!(first.starts_with(OUR_WORDS) && later.starts_with(OUR_WORDS));
}

#[test]
fn a_single_node_is_described_by_its_numbers() {
    let report = Report { shared_cooling: 2, shared_unusable: 1, ..shared(4) };
    let mut books = decider(false, &[("n1", report)]);
    books.pod(at(0), &bound("p", "n1", 2));
    let text = refusal(&mut books, 1, &pod("a"), &["n1"]).text;
    assert_eq!(
        &*text,
        "tideway: node n1: needs 1 address, free 0, with pods 1, cooling or leaving 2, unusable 1"
    );
    let text = refusal(&mut books, 1, &exclusive(pod("b")), &["none"]).text;
    assert!(text.contains("runs no Tideway"), "{text}");
}

#[test]
fn a_text_of_a_single_node_stays_although_many_others_are_described() {
    let names: Vec<String> = (0..5000).map(|i| format!("n{i}")).collect();
    let full = Report { shared_assigned: 1, ..shared(1) };
    let list: Vec<(&str, Report)> = names.iter().map(|n| (n.as_str(), full.clone())).collect();
    let mut books = decider(false, &list);
    let first = refusal(&mut books, 1, &pod("a"), &["n0"]).text;
    books.report("n0", Some(Report { shared_cooling: 1, ..shared(1) }));
    for name in &names[1..] {
        refusal(&mut books, 2, &pod("b"), &[name]);
    }
    assert_eq!(refusal(&mut books, 3, &pod("a"), &["n0"]).text, first);
    assert_ne!(refusal(&mut books, 31, &pod("a"), &["n0"]).text, first);
    // One that wants more is told so.
    let two = PodFacts { wants: Wants::of_pod(2, 0, false), ..pod("two") };
    let one = refusal(&mut books, 32, &exclusive(pod("one")), &["n0"]).text;
    let two = refusal(&mut books, 32, &two, &["n0"]).text;
    assert!(one.contains("needs 1 ENI") && two.contains("needs 2 ENI"), "{one}; {two}");
}

#[test]
fn the_end_of_caution_changes_no_text() {
    let mut books = Decider::new(policy(false));
    for node in ["n1", "n2"] {
        books.report(node, Some(shared(1)));
    }
    books.pod(at(0), &pod("x"));
    books.ready(at(0));
    let first = refusal(&mut books, 1, &pod("a"), &["n1", "n2"]).text;
    assert!(first.contains("on their way") && !first.contains(char::is_numeric), "{first}");
    books.pod(at(2), &bound("x", "n1", 3));
    filter(&mut books, 2, &pod("b"), &["n1", "n2"]);
    assert_eq!(refusal(&mut books, 3, &pod("a"), &["n1", "n2"]).text, first);
}

#[test]
fn as_many_are_woken_as_units_came_free_the_highest_priority_first() {
    let mut books = decider(false, &[("n1", shared(2))]);
    for (name, priority) in [("low", 1), ("high", 9), ("middle", 5)] {
        books.pod(at(0), &bound(&format!("was-{name}"), "n1", 2));
        let waiting = PodFacts { priority, ..pod(name) };
        books.pod(at(0), &waiting);
        if name == "low" {
            books.pod(at(0), &bound("second", "n1", 2));
        }
        refusal(&mut books, 1, &waiting, &["n1"]);
    }
    assert!(woken(&mut books, 2).is_empty());
    for gone in ["was-low", "was-high", "was-middle"] {
        books.pod_gone(at(3), &bound(gone, "n1", 3));
    }
    assert!(woken(&mut books, 4).is_empty(), "they are leaving");
    books.report("n1", Some(Report { pods_version: Some(3), ..shared(2) }));
    assert_eq!(woken(&mut books, 5), ["high"]);
    assert!(woken(&mut books, 6).is_empty(), "the unit is spoken for");
    assert_eq!(filter(&mut books, 6, &PodFacts { priority: 9, ..pod("high") }, &["n1"]), ["n1"]);
    books.pod_gone(at(7), &bound("second", "n1", 4));
    books.report("n1", Some(Report { pods_version: Some(4), ..shared(2) }));
    assert_eq!(woken(&mut books, 8), ["middle"]);
    // The scheduler never comes back for it: after a while the next one has its turn.
    books.pod_gone(at(9), &pod("middle"));
    assert_eq!(woken(&mut books, 9), ["low"]);
}

#[test]
fn a_pod_that_was_asked_about_other_nodes_is_woken_for_room_elsewhere() {
    let full = Report { shared_assigned: 1, ..shared(1) };
    let names: Vec<String> = (0..200).map(|i| format!("full{i}")).collect();
    let mut list: Vec<(&str, Report)> = names.iter().map(|n| (n.as_str(), full.clone())).collect();
    list.push(("room", shared(1)));
    let mut books = decider(false, &list);
    let sample: Vec<&str> = names.iter().map(String::as_str).take(100).collect();
    refusal(&mut books, 1, &pod("a"), &sample);
    assert_eq!(woken(&mut books, 2), ["a"]);
    // Few nodes are all that it can go to: room elsewhere is none for it.
    refusal(&mut books, 2, &pod("b"), &sample[..3]);
    assert!(woken(&mut books, 60).iter().all(|n| n != "b"));
}

#[test]
fn a_pod_whose_room_is_elsewhere_is_woken_ever_less() {
    let full = Report { shared_assigned: 1, ..shared(1) };
    let names: Vec<String> = (0..100).map(|i| format!("full{i}")).collect();
    let mut list: Vec<(&str, Report)> = names.iter().map(|n| (n.as_str(), full.clone())).collect();
    list.push(("room", shared(1)));
    let mut books = decider(false, &list);
    let sample: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut wakes = 0;
    for tenth in 0..6000_u64 {
        let now = Duration::from_millis(1000 + tenth * 100);
        if tenth == 0 || !books.wakes(now).is_empty() {
            wakes += 1;
            assert!(matches!(books.filter(now, &pod("a"), &sample), Choice::Nobody(_)));
        }
    }
    assert!((8..=25).contains(&wakes), "{wakes} wakes in ten minutes");
}

#[test]
fn pods_whose_room_is_elsewhere_do_not_hide_those_behind_them() {
    let mut books = decider(false, &[("full", shared(0)), ("n1", shared(0))]);
    for i in 0..2000 {
        let pod = PodFacts { priority: 9, ..pod(&format!("p{i}")) };
        refusal(&mut books, 1, &pod, &["full"]);
    }
    refusal(&mut books, 2, &pod("a"), &["n1"]);
    books.report("n1", Some(shared(1)));
    let mut names = Vec::new();
    for quarter in 1..=8 {
        let now = at(2) + Duration::from_millis(250) * quarter;
        names.extend(books.wakes(now).into_iter().map(|w| w.name));
    }
    assert_eq!(names, ["a"]);
}

#[test]
fn a_unit_that_came_free_between_a_refusal_and_the_next_look_is_noticed() {
    let full = Report { shared_assigned: 1, ..shared(1) };
    let names: Vec<String> = (0..100).map(|i| format!("full{i}")).collect();
    let mut list: Vec<(&str, Report)> = names.iter().map(|n| (n.as_str(), full.clone())).collect();
    list.push(("room", shared(1)));
    let mut books = decider(false, &list);
    let sample: Vec<&str> = names.iter().map(String::as_str).collect();
    // Woken in vain until it waits long.
    let mut now = at(1);
    for _ in 0..12 {
        refusal(&mut books, now.as_secs(), &pod("a"), &sample);
        while books.wakes(now).is_empty() {
            now += Duration::from_millis(250);
        }
        now = at(now.as_secs() + 1);
    }
    refusal(&mut books, now.as_secs(), &pod("a"), &sample);
    books.report("full0", Some(shared(1)));
    assert_eq!(woken(&mut books, now.as_secs() + 1), ["a"]);
}

#[test]
fn a_node_that_a_list_lost_is_no_room_for_waiting_pods() {
    let mut books = decider(false, &[("n1", shared(1)), ("n2", shared(0))]);
    let node =
        |name: &str| NodeFacts { name: name.into(), zone: None, schedulable: true, serves: true };
    books.node(&node("n1"));
    books.node(&node("n2"));
    books.nodes_list(List::Begins);
    books.node(&node("n2"));
    books.nodes_list(List::Ends(Some(5)));
    assert_eq!(books.figures().free.shared, 0);
    books.node(&node("n1"));
    assert_eq!(books.figures().free.shared, 1);
}

#[test]
fn a_nominated_pod_keeps_its_node_from_lower_and_equal_priorities() {
    let mut books = decider(false, &[("n1", shared(1))]);
    let preemptor = PodFacts { nominated: Some("n1".into()), priority: 5, ..pod("preemptor") };
    books.pod(at(0), &preemptor);
    assert!(filter(&mut books, 1, &PodFacts { priority: 5, ..pod("equal") }, &["n1"]).is_empty());
    assert!(filter(&mut books, 1, &pod("low"), &["n1"]).is_empty());
    assert_eq!(filter(&mut books, 1, &PodFacts { priority: 6, ..pod("high") }, &["n1"]), ["n1"]);
    books.pod_gone(at(2), &pod("high"));
    // Its own hold counts once, not beside the nomination.
    assert_eq!(filter(&mut books, 40, &preemptor, &["n1"]), ["n1"]);
    books.pod(at(41), &PodFacts { node: Some("n1".into()), ..preemptor.clone() });
    assert!(filter(&mut books, 42, &pod("low"), &["n1"]).is_empty());
}

#[test]
fn one_eviction_round_for_each_preemptor_although_its_unit_still_cools() {
    let device = Report { exclusive_offered: 0, exclusive_assigned: 1, ..shared(0) };
    let mut books = decider(false, &[("n1", device.clone()), ("n2", device)]);
    for (victim, node) in [("v1", "n1"), ("v2", "n2")] {
        books.pod(at(0), &exclusive(bound(victim, node, 2)));
    }
    let preemptor = exclusive(PodFacts { priority: 5, ..pod("preemptor") });
    let victims = [Victims { node: "n1", pods: &["v1"] }, Victims { node: "n2", pods: &["v2"] }];
    assert_eq!(books.preempt(at(1), &preemptor, &victims), [true, true]);
    let cleared = PodFacts { nominated: Some("n1".into()), version: Some(5), ..preemptor };
    books.pod(at(2), &cleared);
    // The victim ends, then it has left, then its ENI is not ready again: waiting is enough.
    books.pod(at(2), &exclusive(PodFacts { deleting: true, ..bound("v1", "n1", 6) }));
    assert_eq!(books.preempt(at(3), &cleared, &victims[1..]), [false]);
    assert_eq!(refusal(&mut books, 3, &cleared, &["n1", "n2"]).wait, [0]);
    books.pod_gone(at(4), &exclusive(bound("v1", "n1", 7)));
    assert_eq!(books.preempt(at(5), &cleared, &victims[1..]), [false]);
    assert_eq!(refusal(&mut books, 5, &cleared, &["n1"]).wait, [0]);
    // The unit comes, and the pod goes there.
    let again =
        Report { exclusive_offered: 1, adapters_free: 1, pods_version: Some(7), ..shared(0) };
    books.report("n1", Some(again));
    assert_eq!(filter(&mut books, 6, &cleared, &["n1", "n2"]), ["n1"]);
}

#[test]
fn a_second_eviction_waits_while_the_first_victims_eni_cools() {
    let device = Report { exclusive_assigned: 1, adapters_exclusive: 1, ..shared(0) };
    let mut books = decider(false, &[("n1", device.clone()), ("n2", device.clone())]);
    books.pod(at(0), &exclusive(bound("v1", "n1", 2)));
    books.pod(at(0), &exclusive(bound("v2", "n2", 2)));
    let nominated = Some("n1".into());
    let preemptor = exclusive(PodFacts { priority: 5, nominated, ..pod("preemptor") });
    books.pod(at(1), &preemptor);
    books.pod_gone(at(2), &exclusive(bound("v1", "n1", 7)));
    // The daemon accounts for the deletion: nobody holds the device, and its ENI still takes the adapter.
    let cools =
        Report { exclusive_offered: 1, exclusive_assigned: 0, pods_version: Some(7), ..device };
    books.report("n1", Some(cools));
    assert_eq!(refusal(&mut books, 3, &preemptor, &["n1"]).wait, [0]);
    let victims = [Victims { node: "n2", pods: &["v2"] }];
    assert_eq!(books.preempt(at(3), &preemptor, &victims), [false]);
}

#[test]
fn a_pod_that_lacks_something_else_than_units_of_ours_may_preempt_again() {
    let mut books = decider(false, &[("n1", shared(20)), ("n2", shared(20))]);
    let preemptor = PodFacts { priority: 5, nominated: Some("n1".into()), ..pod("preemptor") };
    books.pod(at(0), &preemptor);
    books.pod(at(0), &bound("v", "n2", 2));
    let victims = [Victims { node: "n2", pods: &["v"] }];
    assert_eq!(
        books.preempt(at(1), &preemptor, &victims),
        [true],
        "n1 has addresses, it lacks CPU"
    );
    // The only address of n1 is its own, held since the cycle before.
    books.report("n1", Some(shared(1)));
    assert_eq!(filter(&mut books, 2, &preemptor, &["n1"]), ["n1"]);
    assert_eq!(books.preempt(at(2), &preemptor, &victims), [true]);
}

#[test]
fn a_pod_whose_cleared_node_is_closed_or_gone_may_preempt_elsewhere() {
    let cools = Report { shared_cooling: 1, ..shared(1) };
    let mut books = decider(false, &[("n1", cools), ("n2", shared(1))]);
    let preemptor = PodFacts { priority: 5, nominated: Some("n1".into()), ..pod("preemptor") };
    books.pod(at(0), &preemptor);
    books.pod(at(0), &bound("v", "n2", 2));
    let victims = [Victims { node: "n2", pods: &["v"] }];
    assert_eq!(books.preempt(at(1), &preemptor, &victims), [false], "its address cools");
    let node = NodeFacts { name: "n1".into(), zone: None, schedulable: false, serves: false };
    books.node(&node);
    assert_eq!(books.preempt(at(2), &preemptor, &victims), [true], "cordoned");
    books.node(&NodeFacts { serves: true, ..node });
    assert_eq!(books.preempt(at(3), &preemptor, &victims), [false], "tainted, for such pods");
    books.node_gone("n1");
    assert_eq!(books.preempt(at(4), &preemptor, &victims), [true], "deleted");
}

#[test]
fn victims_that_free_nothing_of_ours_are_not_evicted() {
    let mut books = decider(false, &[("n1", shared(1)), ("n2", shared(1))]);
    books.pod(at(0), &bound("shared", "n1", 2));
    books.pod(at(0), &PodFacts { wants: None, ..bound("host", "n1", 2) });
    books.pod(at(0), &bound("other", "n2", 2));
    let needs = PodFacts { priority: 5, ..pod("a") };
    let victims = [
        Victims { node: "n1", pods: &["host"] },
        Victims { node: "n1", pods: &["host", "shared"] },
        Victims { node: "n1", pods: &["other"] },
        Victims { node: "no-tideway", pods: &["x"] },
    ];
    assert_eq!(books.preempt(at(1), &needs, &victims), [false, true, false, true]);
}

#[test]
fn a_pod_that_holds_the_only_unit_itself_is_woken_for_it() {
    let mut books = decider(false, &[("n1", shared(1))]);
    books.pod(at(0), &pod("a"));
    assert_eq!(filter(&mut books, 1, &pod("a"), &["n1"]), ["n1"]);
    // Another scheduler was faster, and its pod goes again.
    books.pod(at(2), &bound("other", "n1", 5));
    refusal(&mut books, 3, &pod("a"), &["n1"]);
    assert!(woken(&mut books, 4).is_empty());
    books.pod_gone(at(5), &bound("other", "n1", 6));
    books.report("n1", Some(Report { pods_version: Some(6), ..shared(1) }));
    assert_eq!(woken(&mut books, 6), ["a"]);
    assert!(woken(&mut books, 7).is_empty(), "once");
}

#[test]
fn a_pod_deleted_while_it_is_asked_for_is_not_kept_among_the_refused() {
    let mut books = decider(false, &[("n1", shared(0)), ("n2", shared(1))]);
    books.pod(at(0), &pod("deleted"));
    books.pod_gone(at(1), &pod("deleted"));
    refusal(&mut books, 1, &pod("deleted"), &["n1"]);
    books.pod(at(2), &pod("ended"));
    books.pod(at(2), &PodFacts { ended: true, ..pod("ended") });
    refusal(&mut books, 2, &pod("ended"), &["n1"]);
    books.pod(at(3), &bound("bound", "n2", 3));
    refusal(&mut books, 3, &pod("bound"), &["n1"]);
    assert_eq!(books.figures().refused, 0);
    assert!(woken(&mut books, 10).is_empty());
    // Nor does it hold a unit.
    refusal(&mut books, 10, &pod("deleted"), &["n2"]);
    assert_eq!(books.figures().in_flight, 0);
    books.tick(at(70));
    assert!(!books.late.has_left("deleted"), "remembered for a while only");
}

#[test]
fn a_pod_that_a_stale_list_did_not_have_is_not_taken_for_gone() {
    let mut books = decider(false, &[("n1", shared(1))]);
    books.pod(at(0), &pod("a"));
    books.pods_list(at(1), List::Begins);
    books.pods_list(at(1), List::Ends(Some(1)));
    assert!(filter(&mut books, 2, &pod("a"), &["n1"]).is_empty());
    books.pod(at(3), &pod("a"));
    assert_eq!(filter(&mut books, 4, &pod("a"), &["n1"]), ["n1"]);
}

#[test]
fn a_refused_pod_that_no_watch_ever_showed_is_forgotten_with_the_next_list() {
    let mut books = decider(false, &[("n1", shared(0))]);
    refusal(&mut books, 1, &pod("unseen"), &["n1"]);
    books.pod(at(1), &pod("seen"));
    refusal(&mut books, 1, &pod("seen"), &["n1"]);
    books.pods_list(at(2), List::Begins);
    // The list may be older than this one.
    refusal(&mut books, 3, &pod("new"), &["n1"]);
    books.pod(at(3), &pod("seen"));
    books.pods_list(at(3), List::Ends(Some(5)));
    assert_eq!(books.figures().refused, 2);
    books.pods_list(at(4), List::Begins);
    books.pod(at(5), &pod("seen"));
    books.pods_list(at(5), List::Ends(Some(6)));
    assert_eq!(books.figures().refused, 1);
}

#[test]
fn a_question_that_came_after_an_unseen_deletion_leaves_nobody_waiting_for_ever() {
    let mut books = decider(false, &[("n1", shared(0))]);
    books.pod(at(1), &pod("shown"));
    for name in ["shown", "gone", "there"] {
        refusal(&mut books, 1, &pod(name), &["n1"]);
    }
    assert!(books.unsure(at(60)).is_empty(), "the watch may be late");
    let mut unsure: Vec<Uid> = books.unsure(at(61)).into_iter().map(|(uid, ..)| uid).collect();
    unsure.sort();
    assert_eq!(unsure, [Uid::from("gone"), Uid::from("there")]);
    books.looked(at(61), &"gone".into(), &BindEnd::Gone);
    books.looked(at(61), &"there".into(), &BindEnd::Waiting);
    assert_eq!(books.figures().refused, 2);
    assert!(books.unsure(at(120)).is_empty(), "the next look is a minute later");
    assert_eq!(books.unsure(at(121)).len(), 1);
}

#[test]
fn a_pod_that_was_woken_and_is_gone_gives_its_turn_to_the_next() {
    let full = Report { shared_assigned: 1, ..shared(1) };
    let mut books = decider(false, &[("n1", full)]);
    for name in ["gone", "next"] {
        refusal(&mut books, if name == "gone" { 1 } else { 2 }, &pod(name), &["n1"]);
    }
    books.report("n1", Some(shared(1)));
    assert_eq!(woken(&mut books, 3), ["gone"]);
    books.woken_in_vain(at(3), "gone");
    assert_eq!(woken(&mut books, 3), ["next"]);
    assert_eq!(books.figures().refused, 1);
}

#[test]
fn after_a_start_nobody_waits_for_the_end_of_caution_when_no_pod_can_be_on_its_way() {
    let mut books = Decider::new(policy(false));
    books.report("n1", Some(Report { shared_assigned: 1, ..shared(1) }));
    books.pod(at(0), &pod("on-its-way"));
    books.ready(at(0));
    refusal(&mut books, 1, &pod("a"), &["n1"]);
    books.report("n1", Some(shared(1)));
    assert!(woken(&mut books, 2).is_empty(), "the unit may be given away already");
    books.pod_gone(at(3), &pod("on-its-way"));
    assert_eq!(woken(&mut books, 4), ["a"]);
}

#[test]
fn a_question_that_is_faster_than_the_watch_is_no_sign_of_another_scheduler() {
    let mut books = decider(false, &[("n1", shared(1)), ("n2", shared(1))]);
    books.pod(at(19), &pod("waits"));
    assert_eq!(filter(&mut books, 20, &pod("a"), &["n1", "n2"]).len(), 1);
    books.pod(at(21), &pod("a"));
    books.pod(at(21), &bound("a", "n1", 5));
    assert_eq!(
        filter(&mut books, 22, &pod("b"), &["n1", "n2"]),
        ["n2"],
        "nobody else may be there"
    );
}

#[test]
fn a_pod_that_finds_no_free_unit_is_not_told_of_caution() {
    let mut books = Decider::new(policy(false));
    books.report("n1", Some(shared(0)));
    books.report("n2", Some(shared(0)));
    books.pod(at(0), &pod("on-its-way"));
    books.ready(at(0));
    let text = refusal(&mut books, 1, &pod("a"), &["n1", "n2"]).text;
    assert!(text.contains("no free address"), "{text}");
}

//! Pods that may be on their way without our knowledge.

use super::*;

/// Books that were ready at 0, and are called many times a second until `now`.
fn books(now: u64) -> Decider {
    let mut books = Decider::new(policy(true));
    books.report("n1", Some(shared(3)));
    books.ready(at(0));
    pass(&mut books, 0, now);
    books
}

fn pass(books: &mut Decider, from: u64, to: u64) {
    for second in from..=to {
        books.tick(at(second));
    }
}

fn fits(books: &mut Decider, now: u64, name: &str) -> bool {
    !filter(books, now, &pod(name), &["n1"]).is_empty()
}

#[test]
fn after_a_failover_the_last_units_are_left_to_pods_that_the_other_scheduler_sent_off() {
    let mut books = books(20);
    for name in ["x", "y", "z"] {
        books.pod(at(20), &pod(name));
    }
    // Somebody else was asked about it: he may have sent off the others too.
    books.pod(at(20), &bound("z", "n1", 5));
    assert!(!fits(&mut books, 21, "a"), "two are left, for x and y");
    // Asked about, so it is not on its way.
    assert!(fits(&mut books, 21, "x"));
    books.pod(at(22), &bound("y", "n1", 6));
    books.pod(at(22), &bound("x", "n1", 6));
    books.pod_gone(at(22), &bound("x", "n1", 7));
    books.report("n1", Some(Report { pods_version: Some(7), ..shared(3) }));
    assert!(fits(&mut books, 23, "a"), "all are known now");
}

#[test]
fn after_a_long_silence_pods_may_be_on_their_way_from_another_scheduler() {
    let mut books = books(100);
    for name in ["x", "y", "z"] {
        books.pod(at(90), &pod(name));
    }
    assert!(!fits(&mut books, 100, "a"));
    pass(&mut books, 101, 110);
    assert!(fits(&mut books, 110, "a"), "by now they would have been seen");
}

#[test]
fn pods_made_at_once_after_a_silence_are_not_taken_for_sent_off() {
    let mut books = books(100);
    for name in ["x", "y", "z"] {
        books.pod(at(100), &pod(name));
    }
    // Nor those that the scheduler found no node for, and those that we refused.
    books.pod(at(50), &failed("in-tree", 2, "no cpu"));
    assert!(fits(&mut books, 100, "x") && fits(&mut books, 100, "y") && fits(&mut books, 100, "z"));
    books.pod(at(100), &pod("refused"));
    assert!(!fits(&mut books, 100, "refused"));
    pass(&mut books, 101, 200);
    for name in ["x", "y", "z"] {
        books.pod_gone(at(200), &pod(name));
    }
    assert!(fits(&mut books, 200, "a"));
}

#[test]
fn a_scheduler_that_asks_all_the_time_is_not_slowed_down_by_pods_that_wait() {
    let mut books = books(0);
    for name in ["x", "y", "z"] {
        books.pod(at(0), &pod(name));
    }
    pass(&mut books, 0, 10);
    for minute in 0..5 {
        let now = 10 + minute * 50;
        let name = format!("p{minute}");
        assert!(fits(&mut books, now, &name));
        books.pod_gone(at(now), &pod(&name));
        pass(&mut books, now, now + 50);
    }
}

#[test]
fn while_we_stood_still_pods_may_have_gone_past_us() {
    let mut books = books(20);
    assert!(fits(&mut books, 20, "a"));
    books.pod(at(20), &pod("x"));
    books.pod(at(20), &pod("y"));
    assert!(!fits(&mut books, 25, "b"), "a, x, y");
    pass(&mut books, 26, 35);
    assert!(fits(&mut books, 35, "b"));
}

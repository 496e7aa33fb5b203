//! Crashes at every boundary of the happy path: nothing lost, nothing doubled.

use super::world::{World, facts, pod, secs, settings};
use tideway_model::Families;

fn ends_well(w: &mut World) {
    w.pass(secs(400));
    let ours = w.cloud.enis.len().saturating_sub(1);
    let known = w.ipam.books(w.now).enis.len();
    assert_eq!(ours, known, "no ENI is orphaned");
    assert!(w.ipam.books(w.now).free >= 2);
    assert!(w.flying.is_empty());
}

#[test]
fn a_crash_at_any_call_of_the_warm_up_ends_in_one_warm_pool() {
    for crash_at in 0..6 {
        for mode in 0..3 {
            let mut w = World::with(settings(), facts(3, 10, Families::V4));
            for _ in 0..crash_at {
                if w.looks_wanted > 0 {
                    w.see_cloud();
                } else if !w.flying.is_empty() {
                    w.answer_cloud(0);
                } else if !w.prepare.is_empty() {
                    w.answer_prepare(0);
                }
            }
            w.crash_fate = mode;
            w.crash();
            ends_well(&mut w);
            assert_eq!(w.cloud.attached(), 2);
        }
    }
}

#[test]
fn a_crash_before_the_commit_of_a_grant_leaves_nothing_and_after_it_everything() {
    for (commit, done) in [(false, 0), (true, 0), (true, 100)] {
        let mut w = World::small();
        w.settle();
        w.see_devices();
        let id = w.next_id();
        let event = w.add_event(id, "c1", &pod("a", "u1"));
        w.step_and_crash(event, commit, done);
        assert_eq!(w.ipam.attachments().count(), usize::from(commit));
        w.settle();
        let again = w.add("c1", &pod("a", "u1"));
        w.settle();
        assert!(!w.waits(again));
        ends_well(&mut w);
    }
}

#[test]
fn intents_without_an_eni_in_the_books_are_dropped_and_found_by_tags() {
    let mut w = World::small();
    w.journal.retain(|k, _v| !k.starts_with("eni/"));
    w.crash();
    ends_well(&mut w);
}

#[test]
fn attachments_alone_make_books_again() {
    let mut w = World::small();
    w.settle();
    w.add("c1", &pod("a", "u1"));
    w.journal.retain(|k, _v| k.starts_with("attachment/"));
    w.crash();
    assert_eq!(w.ipam.attachments().count(), 1);
    ends_well(&mut w);
    assert_eq!(w.cloud.attached(), 2);
}

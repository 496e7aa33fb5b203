//! Books that are made anew: a start accepts them, who lives is in them, and what may have been a pod's rests.

use tideway_cloud::EniStatus;
use tideway_model::{Attachment, Families};

use super::{
    damaged::{keyed, own_eni_pod, restored, shared_pod},
    simulated::view,
    world::{facts, key},
};
use crate::{Entry, rebuilt};

/// The entries for these pods when the cloud shows `eni-1` with these addresses; a start has accepted them.
fn journal(living: Vec<Attachment>, addresses: &[u8]) -> Vec<String> {
    let facts = facts(4, 5, Families::V4);
    let shown = view(addresses, EniStatus::InUse);
    let entries = rebuilt::entries(living, &[shown], facts.limits.slots(), 1);
    let keys = entries.iter().map(Entry::key).collect();
    restored(facts, keyed(entries)).expect("a start accepts it");
    keys
}

#[test]
fn two_pods_on_one_exclusive_eni_do_not_make_a_journal_that_no_start_accepts() {
    let named = |name: &str, a: Attachment| Attachment { key: key(name), ..a };
    let moved = named("moved", shared_pod(1, 2));
    let first = named("first", own_eni_pod(1, 1, 0));
    let second = named("second", own_eni_pod(1, 1, 1));
    let (living, lost) = rebuilt::one_each(vec![moved.clone(), first.clone(), second.clone()]);
    assert_eq!((&living, lost), (&vec![first], vec![moved.clone(), second]));
    assert_eq!(journal(living, &[1, 2]), ["eni/1", "attachment/first/eth0"]);
    // Two sandboxes of the pod that holds the device.
    let newer = named("newer", own_eni_pod(1, 1, 0));
    let older = named("older", own_eni_pod(2, 2, 0));
    let (living, lost) = rebuilt::one_each(vec![newer.clone(), older.clone()]);
    assert_eq!((living, lost), (vec![newer.clone()], vec![older]));
    // Who has lost its ENI to another pod takes no device from a third one.
    let third = named("third", own_eni_pod(3, 3, 1));
    let other = named("other", own_eni_pod(2, 2, 1));
    let (living, _lost) = rebuilt::one_each(vec![
        newer.clone(),
        named("second", own_eni_pod(1, 1, 1)),
        third.clone(),
        other,
    ]);
    assert_eq!(living, [newer, third]);
    let (living, lost) = rebuilt::one_each(vec![moved.clone(), moved]);
    assert_eq!((living.len(), lost.len()), (2, 0), "a shared ENI carries many");
}

#[test]
fn an_address_that_a_dead_pod_may_have_had_rests_in_rebuilt_books() {
    let keys = journal(vec![shared_pod(1, 2)], &[1, 2, 3]);
    assert_eq!(keys, ["eni/1", "cooling/10.1.0.1", "cooling/10.1.0.3", "attachment/c1/eth0"]);
}

//! The small world, searched whole to a short depth; `make small` goes further.

use tideway_sim::{
    mutants::Mutant,
    small::{Bounds, Search, begin, search},
};

fn found(warm: bool, mutant: Option<Mutant>, bounds: Bounds) -> Search {
    search(&begin(warm, mutant), bounds)
}

#[test]
fn every_interleaving_of_two_pods_and_two_addresses_keeps_every_promise() {
    for warm in [false, true] {
        let bounds = Bounds { depth: 6, faults: 2, waits: 2, states: 1_000_000 };
        let found = found(warm, None, bounds);
        assert!(found.states > 1_000, "{found:?}");
        assert!(!found.cut_short, "{found:?}");
        assert_eq!(found.violation, None);
    }
}

#[test]
fn the_search_finds_what_is_wrong_with_a_mutant() {
    let bounds = Bounds { depth: 6, faults: 1, waits: 1, states: 1_000_000 };
    for (mutant, warm, rule) in [
        (Mutant::SkipsCooling, true, "an address rests before reuse"),
        (Mutant::SkipsFlush, true, "conntrack is flushed before reuse"),
        (Mutant::ForgetsIntents, false, "no effect without a durable intent"),
        (Mutant::ForgetsPromises, true, "no promise before it is durable"),
        (Mutant::SendsAgain, false, "a call is not sent again before its outcome was read back"),
    ] {
        let found = found(warm, Some(mutant), bounds);
        let broken = found.violation.as_ref().map(|(violation, _)| violation.rule);
        assert_eq!(broken, Some(rule), "{mutant:?}: {found:?}");
    }
}

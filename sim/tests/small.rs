//! The small world, searched whole to a short depth; `tideway-sim small --depth 12` goes further.

use tideway_sim::small::{Bounds, begin, search};

#[test]
fn every_interleaving_of_two_pods_and_two_addresses_keeps_every_promise() {
    for warm in [false, true] {
        let bounds = Bounds { depth: 5, faults: 2, waits: 2, states: 1_000_000 };
        let found = search(&begin(warm, None), bounds);
        assert!(found.states > 500, "{found:?}");
        assert!(!found.cut_short, "{found:?}");
        assert_eq!(found.violation, None);
    }
}

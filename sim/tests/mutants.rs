//! The checker can fail: the judge catches each named mutant of the allocator within some runs. A run that the allocator's
//! own check of its books ends first, which only builds for tests have, shows nothing about the judge: the next run is tried.

use tideway_sim::{mutants::ALL, run::Plan};

/// Runs in which a mutant must be caught.
const RUNS: u64 = 1_500;

#[test]
fn every_mutant_is_caught() {
    let mut survivors = Vec::new();
    for mutant in ALL {
        let mut panics = 0;
        let run = |seed| {
            let plan = Plan { mutant: Some(mutant), ..Plan::whole(seed) };
            let outcome = std::panic::catch_unwind(|| plan.run());
            panics += u64::from(outcome.is_err());
            outcome.ok()?.violation.map(|(violation, _)| (seed, violation))
        };
        let caught = (1..=RUNS).find_map(run);
        let own = format!("{panics} runs ended by the allocator's own check");
        match caught {
            Some((seed, violation)) => println!("{mutant:?}: seed {seed}: {violation}; {own}"),
            None => survivors.push(format!("{mutant:?}: {own}")),
        }
    }
    assert!(survivors.is_empty(), "the judge saw nothing in {RUNS} runs: {survivors:?}");
}

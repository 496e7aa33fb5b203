//! The checker can fail: each named mutant of the allocator is caught within some runs, and the true one is not.

use tideway_sim::{
    mutants::{ALL, Mutant},
    run::Plan,
};

/// Runs in which a mutant must be caught.
const RUNS: u64 = 1_500;

#[test]
fn every_mutant_is_caught() {
    let caught = |mutant: Mutant| {
        (1..=RUNS).find_map(|seed| {
            let plan = Plan { mutant: Some(mutant), ..Plan::whole(seed) };
            let outcome = std::panic::catch_unwind(|| plan.run());
            match outcome {
                // The books' own check in debug builds.
                Err(_panic) => Some((seed, "the books are whole".to_owned())),
                Ok(outcome) => outcome.violation.map(|(v, _)| (seed, v.to_string())),
            }
        })
    };
    let mut survivors = Vec::new();
    for mutant in ALL {
        match caught(mutant) {
            Some((seed, text)) => println!("{mutant:?}: seed {seed}: {text}"),
            None => survivors.push(mutant),
        }
    }
    assert!(survivors.is_empty(), "{survivors:?} survived {RUNS} runs");
}

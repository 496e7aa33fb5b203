//! One run: a seed, its choices, its end.

use crate::{
    coverage::{Cell, Coverage},
    dice::{Dice, mix},
    mutants::Mutant,
    profile::Profile,
    violation::Violation,
    world::{Counts, World},
};

/// Choices of an ordinary run.
pub const LENGTH: u64 = 400;

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The broken promise, if any, and after how many choices.
    pub violation: Option<(Violation, u64)>,
    /// Counts.
    pub counts: Counts,
    /// Where crashes hit.
    pub coverage: Coverage,
    /// What happened, when asked for.
    pub log: Vec<String>,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Seed.
    pub seed: u64,
    /// The choices by number; each has its chance from the seed and its own number.
    pub steps: Vec<u64>,
    /// What is wrong with the allocator.
    pub mutant: Option<Mutant>,
    /// Crashes wait for this cell, in a world in which rare work is frequent.
    pub aim: Option<Cell>,
    /// Write down what happens.
    pub chronicle: bool,
}

impl Plan {
    /// The whole run of a seed.
    pub fn whole(seed: u64) -> Self {
        Self { seed, steps: (0..LENGTH).collect(), mutant: None, aim: None, chronicle: false }
    }

    /// Runs with the seed's own profile.
    pub fn run(&self) -> Outcome {
        let profile = Profile::of(self.seed);
        self.run_with(if self.aim.is_some() { profile.giving_back() } else { profile })
    }

    /// Runs with a given profile.
    pub fn run_with(&self, profile: Profile) -> Outcome {
        let mut world = World::new(profile, self.seed, self.mutant, self.chronicle);
        world.aim = self.aim;
        let node = format!("{:?}", world.profile);
        world.note(|| node);
        let mut taken = 0;
        for step in &self.steps {
            if world.is_broken() {
                break;
            }
            taken += 1;
            world.dice = Dice::new(mix(self.seed, *step));
            let at = world.log.len();
            let name = world.act();
            if self.chronicle {
                world.log.insert(at, format!("--- {step}: {name}"));
            }
        }
        if !world.is_broken() {
            world.dice = Dice::new(mix(self.seed, u64::MAX));
            world.come_to_rest();
        }
        world.note_books();
        world.counts.runs = 1;
        Outcome {
            seed: self.seed,
            violation: world.oracle.violation.map(|v| (v, taken)),
            counts: world.counts,
            coverage: world.coverage,
            log: world.log,
        }
    }
}

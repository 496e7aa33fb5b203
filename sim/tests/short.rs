//! A short slice of the simulator in every test run: no promise of the allocator may break. The whole is `make sim`.

#![expect(clippy::expect_used, clippy::panic, reason = "a test helper outside a test function")]

use tideway_sim::{
    coverage::{Cell, Coverage},
    profile::{Profile, Troubles},
    run::Plan,
    shrink::shrink,
    steps,
    world::Counts,
};

fn runs(first: u64, n: u64, profile: impl Fn(u64) -> Profile) -> (Counts, Coverage) {
    let (mut counts, mut coverage) = (Counts::default(), Coverage::default());
    for seed in first..first + n {
        let plan = Plan::whole(seed);
        let outcome = plan.run_with(profile(seed));
        if outcome.violation.is_some() {
            let (short, end) = shrink(&plan, |p| p.run_with(profile(p.seed)));
            let (violation, _) = end.violation.expect("shrinking keeps the violation");
            panic!(
                "{violation}\ntideway-sim replay --seed {seed} --steps {}",
                steps::show(&short.steps)
            );
        }
        counts.add(outcome.counts);
        coverage.add(&outcome.coverage);
    }
    (counts, coverage)
}

#[test]
fn nothing_is_given_twice_or_lost_in_a_hostile_world() {
    let (counts, coverage) = runs(1, 40, Profile::of);
    assert!(counts.operations > 10_000, "{counts:?}");
    assert!(counts.crashes > 200, "{counts:?}");
    assert!(counts.grants > 150, "{counts:?}");
    assert_eq!(coverage.impossible(), []);
}

#[test]
fn nothing_is_given_twice_or_lost_when_only_the_daemon_dies() {
    let quiet = |seed| {
        let mut profile = Profile::of(seed);
        profile.troubles = Troubles::CRASHES;
        profile
    };
    runs(50_000, 15, quiet);
}

/// More pods than a prefix has addresses, and a pool that wants nothing: prefixes come and go all the time.
#[test]
fn prefixes_are_given_back_whole_and_never_in_use() {
    let many = |seed| {
        let mut profile = Profile::of(seed).giving_back();
        profile.settings.prefixes = true;
        profile.settings.min_shared = 1;
        profile.max_pods = 30;
        profile.troubles.strangers = seed % 3 == 0;
        profile
    };
    runs(80_000, 12, many);
}

/// What had an address of a found prefix before the journal was lost is not known: seed 5652 handed one out at once.
#[test]
fn an_address_of_a_prefix_that_was_found_rests_before_it_is_handed_out() {
    let steps = steps::read("5,9-10,32,64,82,137,148,167,182,207").expect("steps");
    let plan = Plan { steps, ..Plan::whole(5652) };
    assert_eq!(plan.run().violation, None);
}

/// Rare work is hit by runs that wait for it; `make sim` goes on until every reachable cell was hit 100 times.
#[test]
fn aimed_runs_hit_what_they_are_aimed_at() {
    for name in ["AmongCommands/Unassign/Effect", "BeforeCommit/Detach/Decided"] {
        let cell = Cell::named(name).expect("a cell");
        let plan = |seed| Plan { aim: Some(cell), ..Plan::whole(seed) };
        let mut coverage = Coverage::default();
        for seed in 1..=20 {
            let outcome = plan(seed).run();
            assert_eq!(outcome.violation, None, "seed {seed} --aim {name}");
            coverage.add(&outcome.coverage);
        }
        assert!(coverage.hits(cell) > 0, "{name}");
    }
}

#[test]
fn a_run_is_the_same_every_time() {
    let plan = Plan { chronicle: true, ..Plan::whole(7) };
    assert_eq!(plan.run().log, plan.run().log);
}

/// The bound that the settings state is needed: a world with later effects and older pictures breaks a promise.
#[test]
fn a_world_with_later_effects_than_the_settings_allow_is_caught() {
    let slow = |seed| {
        let mut profile = Profile::of(seed);
        profile.late = std::time::Duration::from_mins(5);
        profile.stale = std::time::Duration::from_mins(2);
        profile.troubles.calls = true;
        profile.troubles.strangers = false;
        profile.troubles.disk = false;
        profile
    };
    let caught = (1..400).find(|seed| Plan::whole(*seed).run_with(slow(*seed)).violation.is_some());
    assert!(caught.is_some(), "a world beyond the bound broke nothing in 400 runs");
}

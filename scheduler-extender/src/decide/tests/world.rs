//! A whole cluster in random order: API server, scheduler, kubelets, daemons, and two watches that lag behind each other. The
//! truth is kept apart from the books; after every binding no node may carry more than it has.
//!
//! What is assumed of the scheduler: its copy of a pod is at least as new as what it wrote about the pod itself.

mod cluster;

use proptest::prelude::*;

use cluster::World;

/// One step: what happens, and to whom.
type Step = (u8, u8, u8);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>()), 50..400)
}

fn run(strict: bool, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut world = World::new(strict);
    for step in steps {
        world.step(*step).map_err(TestCaseError::fail)?;
    }
    world.drain().map_err(TestCaseError::fail)
}

/// `PROPTEST_CASES` sets how long they search.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn in_strict_mode_no_two_pods_ever_get_one_last_unit(steps in steps()) {
        run(true, &steps)?;
    }

    #[test]
    fn in_default_mode_no_two_pods_get_one_last_unit_while_holds_last(steps in steps()) {
        run(false, &steps)?;
    }
}

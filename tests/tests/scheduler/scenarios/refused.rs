//! Pods that wait: they cost nothing while nothing changes, and are tried when something does.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::{
    agent::{Kind, Shape},
    bed::Bed,
    figures::{Figures, failed_attempts},
    objects::{self, Allocatable},
    say,
    stack::{Mode, Pair, Setting},
};

/// What is promised to a pod that waits, as long as no other pod is in the queue.
const SOON: Duration = Duration::from_secs(2);

/// Full nodes: ten with two addresses each.
fn full(bed: &Bed, namespace: &str, mode: Mode) -> Result<()> {
    bed.run_with(Setting::of(mode))?;
    bed.namespace(namespace)?;
    bed.nodes(namespace, 10, Shape::addresses(2), Allocatable::default())?;
    bed.pods(namespace, (0..20).map(|i| objects::pod(&format!("full{i}"), Kind::Shared)))?;
    bed.wait_bound(namespace, 20)?;
    bed.wait_at_rest()
}

pub(crate) fn refused_pods_rest_in_a_quiet_cluster(bed: &Bed, mode: Mode) -> Result<()> {
    full(bed, "quiet", mode)?;
    let before = failed_attempts()?;
    bed.pods("quiet", (0..100).map(|i| objects::pod(&format!("more{i}"), Kind::Shared)))?;
    bed.wait_refused("quiet", 100)?;
    let first = failed_attempts()? - before;
    // What the first refusals themselves have stirred up may come to rest.
    bed.observe(Duration::from_secs(3))?;
    let (calls, attempts) = (filter_calls()?, failed_attempts()?);
    bed.observe(Duration::from_secs(5))?;
    let (calls, attempts) = (filter_calls()? - calls, failed_attempts()? - attempts);
    say(&format!(
        "  100 refused pods: {first} attempts at first, then in 5 s {attempts} attempts and {calls} calls"
    ));
    ensure!(attempts <= 20.0, "{attempts} attempts in 5 s in a quiet cluster");
    bed.never_above()
}

fn filter_calls() -> Result<f64> {
    let page = Figures::of_extender(Pair::First)?;
    Ok(page.sum("tideway_extender_requests_total", &["verb=\"filter\""]))
}

pub(crate) fn a_waiting_pod_is_tried_soon_after_an_address_is_free(
    bed: &Bed,
    mode: Mode,
) -> Result<()> {
    full(bed, "wake", mode)?;
    bed.pods("wake", (0..5).map(|i| objects::pod(&format!("more{i}"), Kind::Shared)))?;
    bed.wait_refused("wake", 5)?;
    // Nothing is in the scheduler's queue, and no pod is within its back-off any more.
    bed.observe(Duration::from_secs(4))?;
    let mut waits = Vec::new();
    for _ in 0..3 {
        let leaving: Vec<String> = bed.bound("wake").into_iter().take(1).collect();
        bed.delete("wake", &leaving, None)?;
        bed.wait("the node has told that its address is free", |bed| {
            let world = bed.world();
            let gone = world.deletions.contains(&leaving[0]) && world.is_at_rest();
            ensure!(gone, "not yet");
            Ok(())
        })?;
        let told = Instant::now();
        bed.wait_bound("wake", 20)?;
        waits.push(told.elapsed());
    }
    say(&format!("  bound after the node had told of a free address: {waits:.1?}"));
    // The middle one: a machine with other tests beside this may be late for once.
    waits.sort();
    ensure!(waits[1] <= SOON, "{waits:?}: not within {SOON:?}");
    bed.never_above()
}

//! The scheduler looks at a part of the nodes for each pod; those with addresses may not be among them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::{
    agent::{Kind, Shape},
    bed::Bed,
    objects::{self, Allocatable},
    say,
    stack::{Mode, Setting},
};

/// Of so many nodes the scheduler looks at a tenth for each pod.
const NODES: usize = 5000;
/// Those with addresses.
const RICH: usize = 25;
const PODS: usize = 100;
/// What is promised where they stand among the others.
const LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn few_nodes_with_addresses_among_many_are_found(bed: &Bed, mode: Mode) -> Result<()> {
    bed.run_with(Setting::of(mode))?;
    bed.namespace("starved")?;
    let began = Instant::now();
    for part in 0..RICH {
        rich(bed, &format!("rich{part}"), 1, 5)?;
        let barren = NODES / RICH - 1;
        let tree = Allocatable::default();
        bed.nodes(&format!("barren{part}"), barren, Shape::addresses(0), tree)?;
    }
    bed.wait_known(RICH, Shape::addresses(5))?;
    say(&format!("  {NODES} nodes made in {:.1?}", began.elapsed()));
    let took = found(bed, "p", PODS)?;
    say(&format!("  {PODS} pods found addresses on {RICH} of {NODES} nodes in {took:.1?}"));
    ensure!(took <= LIMIT, "{took:?}, not within {LIMIT:?}");
    // Nodes that came last stand together in the scheduler's order, so nine of ten tries see none of them.
    rich(bed, "new", RICH, 8)?;
    let took = found(bed, "q", PODS * 2)?;
    say(&format!("  {PODS} more found them on {RICH} new nodes in {took:.1?}"));
    bed.never_above()
}

fn rich(bed: &Bed, prefix: &str, count: usize, addresses: u32) -> Result<()> {
    bed.nodes(prefix, count, Shape::addresses(addresses), Allocatable::default())
}

/// How long it takes until so many pods are bound, with [`PODS`] new ones.
fn found(bed: &Bed, prefix: &str, bound: usize) -> Result<Duration> {
    // From here on nothing happens that could wake a pod, but for what the extender does.
    bed.wait_at_rest()?;
    let created = Instant::now();
    bed.pods("starved", (0..PODS).map(|i| objects::pod(&format!("{prefix}{i}"), Kind::Shared)))?;
    bed.wait_bound("starved", bound)?;
    Ok(created.elapsed())
}

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
const LIMIT: Duration = Duration::from_secs(10);

/// Both modes are tried with one set of nodes: it takes long to make them.
pub(crate) fn few_nodes_with_addresses_among_many_are_found(bed: &Bed, mode: Mode) -> Result<()> {
    bed.run_with(Setting::of(mode))?;
    bed.namespace("starved")?;
    let began = Instant::now();
    for part in 0..RICH {
        // Names in this order also mix them for a scheduler that finds all of them in a list.
        rich(bed, &format!("part{part}-a"), 1, 5)?;
        let barren = NODES / RICH - 1;
        let tree = Allocatable::default();
        bed.nodes(&format!("part{part}-b"), barren, Shape::default(), tree)?;
    }
    bed.wait_known(RICH, Shape::addresses(5))?;
    say(&format!("  {NODES} nodes made in {:.1?}", began.elapsed()));
    found(bed, "mixed", PODS)?;
    // Nodes that came last stand together in the scheduler's order, so nine of ten tries see none of them.
    rich(bed, "together", RICH, 12)?;
    found(bed, "together", 2 * PODS)?;
    bed.run_with(Setting::of(Mode::Strict))?;
    found(bed, "strict", 3 * PODS)?;
    bed.never_above()
}

fn rich(bed: &Bed, prefix: &str, count: usize, addresses: u32) -> Result<()> {
    bed.nodes(prefix, count, Shape::addresses(addresses), Allocatable::default())
}

/// [`PODS`] new pods find addresses; `bound` are bound in all then.
fn found(bed: &Bed, prefix: &str, bound: usize) -> Result<()> {
    // From here on nothing happens that could wake a pod, but for what the extender does.
    bed.wait_at_rest()?;
    let created = Instant::now();
    bed.pods("starved", (0..PODS).map(|i| objects::pod(&format!("{prefix}{i}"), Kind::Shared)))?;
    bed.wait_bound("starved", bound)?;
    let took = created.elapsed();
    say(&format!("  {prefix}: {PODS} pods bound on few of {NODES} nodes in {took:.1?}"));
    ensure!(took <= LIMIT, "{prefix}: {took:?}, not within {LIMIT:?}");
    Ok(())
}

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
const MANY: usize = 5000;
/// Percentage of fewer nodes that is told to look at: as few with addresses are among them as with [`MANY`].
const TENTH: u32 = 10;
const FEWER: usize = 1000;
/// Those with addresses.
const RICH: usize = 25;
const PODS: usize = 100;
/// Within this all are bound with [`MANY`] nodes, on a machine that has nothing else to do.
const LIMIT: Duration = Duration::from_secs(10);
/// In a run with other tests beside it. Without us nothing would wake a pod for five minutes.
const BESIDE_OTHERS: Duration = Duration::from_secs(40);

/// The same with a cluster of a size at which the scheduler by itself looks at a tenth.
pub(crate) fn few_nodes_with_addresses_among_five_thousand_are_found(
    bed: &Bed,
    mode: Mode,
) -> Result<()> {
    few_among(bed, Setting::of(mode), MANY, LIMIT)
}

pub(crate) fn few_nodes_with_addresses_among_many_are_found(bed: &Bed, mode: Mode) -> Result<()> {
    few_among(bed, Setting { looks_at: TENTH, ..Setting::of(mode) }, FEWER, BESIDE_OTHERS)
}

/// Both modes are tried with one set of nodes: it takes long to make them.
fn few_among(bed: &Bed, setting: Setting, nodes: usize, limit: Duration) -> Result<()> {
    bed.run_with(setting)?;
    bed.namespace("starved")?;
    let began = Instant::now();
    for part in 0..RICH {
        // Names in this order also mix them for a scheduler that finds all of them in a list.
        rich(bed, &format!("part{part}-a"), 1, 5)?;
        let barren = nodes / RICH - 1;
        let tree = Allocatable::default();
        bed.nodes(&format!("part{part}-b"), barren, Shape::default(), tree)?;
    }
    bed.wait_known(RICH, Shape::addresses(5))?;
    say(&format!("  {nodes} nodes made in {:.1?}", began.elapsed()));
    found(bed, "mixed", PODS, limit)?;
    // Nodes that came last stand together in the scheduler's order, so nine of ten tries see none of them.
    rich(bed, "together", RICH, 12)?;
    found(bed, "together", 2 * PODS, limit)?;
    bed.run_with(Setting { mode: Mode::Strict, ..setting })?;
    found(bed, "strict", 3 * PODS, limit)?;
    bed.never_above()
}

fn rich(bed: &Bed, prefix: &str, count: usize, addresses: u32) -> Result<()> {
    bed.nodes(prefix, count, Shape::addresses(addresses), Allocatable::default())
}

/// [`PODS`] new pods find addresses; `bound` are bound in all then.
fn found(bed: &Bed, prefix: &str, bound: usize, limit: Duration) -> Result<()> {
    // From here on nothing happens that could wake a pod, but for what the extender does.
    bed.wait_at_rest()?;
    let created = Instant::now();
    bed.pods("starved", (0..PODS).map(|i| objects::pod(&format!("{prefix}{i}"), Kind::Shared)))?;
    bed.wait_bound("starved", bound)?;
    let took = created.elapsed();
    say(&format!("  {prefix}: {PODS} pods bound on few nodes in {took:.1?}"));
    ensure!(took <= limit, "{prefix}: {took:?}, not within {limit:?}");
    Ok(())
}

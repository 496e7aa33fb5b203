//! The scheduler looks at a part of the nodes for each pod; those with addresses may not be among them.

use anyhow::Result;
use hyper::Method;

use crate::{
    agent::{Kind, Shape},
    bed::Bed,
    objects::{self, Allocatable, NODE_NETWORKS},
    say,
    stack::{Mode, Setting},
};

/// Nodes without an address. With a tenth of them looked at this is as hard as 25 of 5000 are by default.
const BARREN: usize = 1000;

pub(crate) fn few_nodes_with_addresses_among_many_are_found(bed: &Bed) -> Result<()> {
    bed.run_with(Setting { percentage: 10, ..Setting::of(Mode::Default) })?;
    bed.namespace("starved")?;
    let names: Vec<String> = (0..BARREN).map(|i| format!("barren-{i}")).collect();
    // A NodeNetwork that says nothing yet: Tideway is there, and there is nothing to be had.
    let networks =
        names.iter().map(|n| (Method::POST, NODE_NETWORKS.into(), Some(objects::node_network(n))));
    bed.at_once(networks.collect())?;
    bed.empty_nodes(&names, Allocatable::default())?;
    bed.nodes("rich", 6, Shape::addresses(4), Allocatable::default())?;
    bed.pods("starved", (0..22).map(|i| objects::pod(&format!("p{i}"), Kind::Shared)))?;
    let took = bed.wait_bound("starved", 22)?;
    say(&format!("  22 pods found 24 addresses on 6 of {} nodes in {took:.1?}", BARREN + 6));
    bed.never_above()
}

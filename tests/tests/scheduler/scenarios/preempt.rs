//! Preemption: it happens where in-tree filters are short of something too, once for each pod, and nowhere else.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::{
    agent::{Kind, Pace, Shape},
    bed::Bed,
    figures::failed_attempts,
    objects::{self, Allocatable},
    say,
    stack::{Mode, Setting},
};

/// Two nodes full of weak pods, of which the sandboxes and addresses are slow to go.
fn full(
    bed: &Bed,
    mode: Mode,
    name: &str,
    kind: Kind,
    shape: Shape,
    tree: Allocatable,
) -> Result<usize> {
    bed.run_with(Setting::of(mode))?;
    bed.namespace(name)?;
    bed.world().pace = Pace {
        teardown: Duration::from_millis(1500),
        cooldown: Duration::from_secs(2),
        ..Pace::default()
    };
    bed.nodes(name, 2, shape, tree)?;
    let units = if kind == Kind::Shared { shape.base } else { shape.adapters };
    let pods = usize::try_from(units * 2)?;
    let weak = |i| {
        objects::with(objects::pod(&format!("weak{i}"), kind), json!({"priorityClassName": "low"}))
    };
    bed.pods(name, (0..pods).map(weak))?;
    bed.wait_bound(name, pods)?;
    bed.wait_at_rest()?;
    Ok(pods)
}

fn strong(bed: &Bed, namespace: &str, kind: Kind) -> Result<()> {
    let pod = objects::with(objects::pod("strong", kind), json!({"priorityClassName": "high"}));
    bed.pods(namespace, [pod])
}

/// The strong pod gets in, and exactly one weak pod went for it.
fn one_round(
    bed: &Bed,
    mode: Mode,
    name: &str,
    kind: Kind,
    shape: Shape,
    tree: Allocatable,
) -> Result<()> {
    let pods = full(bed, mode, name, kind, shape, tree)?;
    let attempts = failed_attempts()?;
    strong(bed, name, kind)?;
    bed.wait("the strong pod is bound", |bed| {
        let world = bed.world();
        let pod = world.of(name).find(|p| p.name == "strong");
        let bound = pod.is_some_and(|p| p.node.is_some());
        ensure!(bound, "it is not: {:?}", pod.map(|p| (&p.refused, &p.nominated)));
        Ok(())
    })?;
    let attempts = failed_attempts()? - attempts;
    bed.wait_at_rest()?;
    let gone = bed.world().deletions.clone();
    say(&format!("  evicted: {gone:?}, {attempts} attempts in vain"));
    ensure!(gone.len() == 1, "evicted: {gone:?}");
    ensure!(bed.bound(name).len() == pods, "weak pods were lost");
    ensure!(attempts <= 30.0, "{attempts} attempts in vain");
    bed.never_above()
}

pub(crate) fn a_device_is_taken_from_the_weaker_in_one_round(bed: &Bed, mode: Mode) -> Result<()> {
    let tree = Allocatable { enis: 2, ..Allocatable::default() };
    one_round(bed, mode, "devices", Kind::Exclusive, Shape::devices(2), tree)
}

pub(crate) fn with_max_pods_one_weaker_pod_goes_and_no_more(bed: &Bed, mode: Mode) -> Result<()> {
    let tree = Allocatable { pods: 3, ..Allocatable::default() };
    one_round(bed, mode, "maxpods", Kind::Shared, Shape::addresses(3), tree)
}

pub(crate) fn without_max_pods_nothing_is_evicted_and_nothing_loops(
    bed: &Bed,
    mode: Mode,
) -> Result<()> {
    full(bed, mode, "open", Kind::Shared, Shape::addresses(3), Allocatable::default())?;
    strong(bed, "open", Kind::Shared)?;
    bed.wait_refused("open", 1)?;
    let attempts = failed_attempts()?;
    bed.observe(Duration::from_secs(4))?;
    let attempts = failed_attempts()? - attempts;
    let gone = bed.world().deletions.clone();
    ensure!(gone.is_empty(), "evicted: {gone:?}");
    ensure!(attempts <= 3.0, "{attempts} attempts in 4 s");
    bed.never_above()
}

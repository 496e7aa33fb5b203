//! Hazards, each on small books; `world` runs whole clusters in random order.

mod caution;
mod holds;
mod limits;
mod nominations;
mod waiting;
mod world;

use std::time::Duration;

use super::*;
use crate::config::Config;

pub(super) fn policy(strict: bool) -> Policy {
    Policy { strict, ..Config::default().policy() }
}

pub(super) fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A pod that needs one shared address.
pub(super) fn pod(name: &str) -> PodFacts {
    PodFacts {
        uid: name.into(),
        namespace: "default".into(),
        name: name.into(),
        version: Some(1),
        wants: Wants::of_pod(0, 0, false),
        ours: true,
        ..PodFacts::default()
    }
}

pub(super) fn bound(name: &str, node: &str, version: u64) -> PodFacts {
    PodFacts { node: Some(node.into()), version: Some(version), ..pod(name) }
}

/// A pod of which the scheduler wrote that it found no node.
pub(super) fn failed(name: &str, version: u64, why: &str) -> PodFacts {
    PodFacts { version: Some(version), failure: Some(Failure::of(why)), ..pod(name) }
}

pub(super) fn exclusive(pod: PodFacts) -> PodFacts {
    PodFacts { wants: Wants::of_pod(1, 0, false), ..pod }
}

/// A node with so many shared addresses and nothing else.
pub(super) fn shared(units: u32) -> Report {
    Report {
        ready: true,
        grows: true,
        shared_capacity: units,
        shared_held: units,
        pods_version: Some(1),
        cooldown: at(10),
        ..Report::default()
    }
}

/// Books that were ready long ago.
pub(super) fn decider(strict: bool, nodes: &[(&str, Report)]) -> Decider {
    let mut decider = Decider::new(Policy { caution: Duration::ZERO, ..policy(strict) });
    for (name, report) in nodes {
        decider.report(name, Some(report.clone()));
    }
    decider.ready(Duration::ZERO);
    decider
}

/// The nodes that filter answers, as text; none: refused.
pub(super) fn filter(
    decider: &mut Decider,
    now: u64,
    pod: &PodFacts,
    names: &[&str],
) -> Vec<String> {
    decider.tick(at(now));
    match decider.filter(at(now), pod, names) {
        Choice::Any => names.iter().map(|n| (*n).to_owned()).collect(),
        Choice::Nodes(indexes) => {
            let mut nodes: Vec<String> = indexes.iter().map(|i| names[*i].to_owned()).collect();
            nodes.sort();
            nodes
        }
        Choice::Nobody(_) => Vec::new(),
    }
}

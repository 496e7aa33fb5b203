//! Runs the calls of the matrix from inside the pods and nodes, all callers at the same time, one `exec` each.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::{
    binaries::Binaries,
    matrix::{Outcome, Pair, Place, Target, Verdict},
    scene::Scene,
};
use crate::{
    at_once::{at_once, task},
    cluster::Cluster,
    command,
};

/// Calls every pair and judges it, in the order of the pairs.
pub fn measure(
    cluster: &Cluster,
    binaries: &Binaries,
    scene: &Scene,
    pairs: &[Pair],
) -> Result<Vec<Verdict>> {
    let mut callers: BTreeMap<&Place, Vec<&Target>> = BTreeMap::new();
    for pair in pairs {
        callers.entry(&pair.row.from).or_default().push(&pair.target);
    }
    let calls = callers
        .into_iter()
        .map(|(place, targets)| task(move || call(cluster, binaries, scene, place, &targets)));
    let outcomes: BTreeMap<String, Outcome> = at_once(calls.collect())?
        .into_iter()
        .flatten()
        .map(|outcome| (outcome.name.clone(), outcome))
        .collect();
    Ok(pairs.iter().map(|pair| pair.judge(outcomes.get(&pair.target.name))).collect())
}

fn call(
    cluster: &Cluster,
    binaries: &Binaries,
    scene: &Scene,
    place: &Place,
    targets: &[&Target],
) -> Result<Vec<Outcome>> {
    let input = serde_json::to_vec(targets)?;
    let answer = match place {
        Place::Pod(spot) => {
            let pod = &scene.pod(spot)?.name;
            cluster.kubectl()?.exec(pod, &["tideway-probe", "call"], &input)
        }
        Place::Node(name) => {
            let nodes = cluster.nodes();
            let node = nodes.iter().find(|n| n.name() == name).context("a caller is no node")?;
            let mut probe = node.command(&binaries.probe)?;
            command::run_with(probe.arg("call"), Some(&input))
        }
    };
    let answer = answer.with_context(|| format!("calls from {place:?}"))?;
    serde_json::from_str(&answer).with_context(|| format!("calls from {place:?}: {answer}"))
}

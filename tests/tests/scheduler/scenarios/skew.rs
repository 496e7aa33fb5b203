//! Spreading: the short-list must not take from the scheduler what it needs to spread a workload over zones and hosts.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use hyper::Method;
use serde_json::json;

use crate::{
    agent::Shape,
    bed::Bed,
    objects::{self, Allocatable},
    say,
    stack::{Mode, Setting},
};

const NODES: usize = 120;
const REPLICAS: usize = 100;

#[derive(Debug, Clone, Copy)]
struct Skew {
    /// Pods of the fullest zone minus those of the emptiest.
    zones: usize,
    /// Pods of the fullest node.
    host: usize,
}

pub(crate) fn a_deployment_is_spread_as_without_us(bed: &Bed, mode: Mode) -> Result<()> {
    let bare = skew(bed, mode)?;
    bed.clear()?;
    let ours = skew(bed, Mode::Default)?;
    say(&format!(
        "  {REPLICAS} replicas on {NODES} nodes in 3 zones: bare {bare:?}, ours {ours:?}"
    ));
    ensure!(ours.zones <= bare.zones.max(10), "zones: {ours:?} against {bare:?}");
    ensure!(ours.host <= bare.host.max(2), "hosts: {ours:?} against {bare:?}");
    bed.never_above()
}

fn skew(bed: &Bed, mode: Mode) -> Result<Skew> {
    bed.run_with(Setting::of(mode))?;
    bed.namespace("skew")?;
    bed.nodes("skew", NODES, Shape::addresses(4), Allocatable::default())?;
    let path = "/apis/apps/v1/namespaces/skew/deployments";
    let mut template = objects::pod("none", crate::agent::Kind::Shared);
    template["metadata"] = json!({"labels": {"app": "skew"}});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "skew"},
        "spec": {"replicas": REPLICAS, "selector": {"matchLabels": {"app": "skew"}},
            "template": {"metadata": template["metadata"], "spec": template["spec"]}},
    });
    bed.create(path, &deployment)?;
    bed.stack.start_controllers("deployment-controller,replicaset-controller")?;
    let bound = bed.wait_bound("skew", REPLICAS);
    let found = found(bed);
    // Nobody shall make the pods anew.
    bed.stack.stop("controller-manager")?;
    bed.call(Method::DELETE, &format!("{path}/skew"), None)?;
    bed.call(Method::DELETE, "/apis/apps/v1/namespaces/skew/replicasets", None)?;
    bound?;
    Ok(found)
}

fn found(bed: &Bed) -> Skew {
    let (mut zones, mut hosts) = (BTreeMap::from([(0, 0), (1, 0), (2, 0)]), BTreeMap::new());
    let world = bed.world();
    for node in world.of("skew").filter_map(|p| p.node.as_deref()) {
        let number: usize = node.trim_start_matches("skew-").parse().unwrap_or_default();
        *zones.entry(number % 3).or_insert(0_usize) += 1;
        *hosts.entry(number).or_insert(0_usize) += 1;
    }
    let (most, least) = (zones.values().max(), zones.values().min());
    Skew {
        zones: most.copied().unwrap_or_default() - least.copied().unwrap_or_default(),
        host: hosts.values().max().copied().unwrap_or_default(),
    }
}

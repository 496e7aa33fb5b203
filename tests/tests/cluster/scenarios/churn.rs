//! Pods come and go while the daemon is killed again and again.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tideway_e2e::{
    cluster::{list, text},
    wait::{self, Look},
};

use crate::{
    bed::Bed,
    pods::{is_ready, spec},
};

const PODS: usize = 12;
/// An Assign whose answer the kill lost is read back only when a late effect must show (`pool.lateEffectSeconds`); the pods
/// that wait for its ENI get their addresses then, some with the kubelet's next try.
const PATIENCE: Duration = Duration::from_mins(4);

pub(crate) fn a_daemon_killed_in_churn_loses_and_doubles_no_address(bed: &Bed) -> Result<()> {
    let mut spec = spec(false);
    spec["topologySpreadConstraints"] = json!([{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "churn"}},
    }]);
    bed.create(&[json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "churn"},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": "churn"}},
            "template": {"metadata": {"labels": {"app": "churn"}}, "spec": spec},
        },
    })])?;
    // Up, down and up again; a kill in the middle of each.
    scale(bed, PODS)?;
    until(bed, "some pods have an address", |pods| with_address(pods) >= 2)?;
    crash(bed)?;
    let pods = until(bed, "all pods run", |pods| ready(pods) == PODS)?;
    Bed::all_differ(&pods)?;
    scale(bed, 0)?;
    until(bed, "some pods have gone", |pods| pods.len() < PODS)?;
    crash(bed)?;
    until(bed, "no pod is left", <[Value]>::is_empty)?;
    scale(bed, PODS)?;
    until(bed, "some pods are there", |pods| !pods.is_empty())?;
    crash(bed)?;
    let pods = until(bed, "all pods run", |pods| ready(pods) == PODS)?;

    let given = Bed::all_differ(&pods)?;
    ensure!(given == 2 * PODS, "{given} addresses for {PODS} pods of two families");
    let [first, second] = bed.nodes();
    let mut known = Vec::new();
    for node in [&first, &second] {
        let shown = bed.show(node)?;
        known.extend(list(&shown, "/pods").iter().map(|p| text(p, "/pod").to_owned()));
    }
    ensure!(known.len() == PODS, "leaked or lost: the daemons know {known:?}");
    for pod in &pods {
        let from = if text(pod, "/spec/nodeName") == first.name() { &second } else { &first };
        let ips = list(pod, "/status/podIPs").iter().map(|ip| text(ip, "/ip").parse());
        bed.reaches(from, &ips.collect::<Result<Vec<_>, _>>()?)?;
    }
    Ok(())
}

fn scale(bed: &Bed, count: usize) -> Result<()> {
    bed.kubectl()?.run(["scale", "deployment", "churn", &format!("--replicas={count}")]).map(drop)
}

/// Kills the daemons of both nodes and starts them again.
fn crash(bed: &Bed) -> Result<()> {
    for node in bed.nodes() {
        bed.kill(&node, "tidewayd")?;
        bed.start_daemon(&node, "")?;
    }
    Ok(())
}

fn until(bed: &Bed, what: &str, holds: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>> {
    let kubectl = bed.kubectl()?;
    wait::until(what, PATIENCE, || {
        let pods = kubectl.get("pods?labelSelector=app=churn")?;
        let pods = list(&pods, "/items");
        let seen = format!(
            "{} pods, {} with an address, {} ready",
            pods.len(),
            with_address(pods),
            ready(pods)
        );
        Ok(if holds(pods) { Look::Seen(pods.to_vec()) } else { Look::NotYet(seen) })
    })
}

fn with_address(pods: &[Value]) -> usize {
    pods.iter().filter(|p| !text(p, "/status/podIP").is_empty()).count()
}

fn ready(pods: &[Value]) -> usize {
    pods.iter().filter(|p| is_ready(p)).count()
}

//! The demo's pods and Services: made, watched until they are what they should be, and deleted.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, bail};
use serde_json::Value;

use super::{
    matrix::{Destination, Policy, Row},
    scene::{Scene, Spot, backend_label, service_name},
};
use crate::{
    cluster::{Cluster, fill, list, text},
    command, image,
    wait::{self, Look},
};

/// Longest way of a pod to Running: an ENI of its own has to be made and attached.
const PATIENCE: Duration = Duration::from_mins(1);

fn manifest(template: &str) -> String {
    fill(template, &[("IMAGE", image::PROBE_IMAGE)])
}

/// Creates all Deployments.
pub fn create(cluster: &Cluster) -> Result<()> {
    cluster.kubectl()?.apply(&manifest(include_str!("../../demo/workloads.yaml")))
}

/// Waits until every pod runs. A pod that has failed for good ends the wait.
pub fn wait_running(cluster: &Cluster, count: usize) -> Result<Value> {
    let kubectl = cluster.kubectl()?;
    let ran = wait::until("all pods Running", PATIENCE, || {
        let pods = kubectl.get("pods")?;
        let all = list(&pods, "/items");
        if let Some(failed) = all.iter().find(|p| text(p, "/status/phase") == "Failed") {
            bail!(
                "pod {} failed: {} {}",
                text(failed, "/metadata/name"),
                text(failed, "/status/reason"),
                text(failed, "/status/message")
            );
        }
        let ready = all.iter().filter(|p| is_ready(p)).count();
        let all_run = ready == count;
        Ok(if all_run {
            Look::Seen(pods)
        } else {
            Look::NotYet(format!("{ready} of {count} ready"))
        })
    });
    ran.map_err(|error| {
        let pods = kubectl.get("pods").unwrap_or_default();
        error.context(unready(cluster, list(&pods, "/items")))
    })
}

fn is_ready(pod: &Value) -> bool {
    list(pod, "/status/conditions")
        .iter()
        .any(|c| text(c, "/type") == "Ready" && text(c, "/status") == "True")
}

/// Why pods are not ready, from their own events in the kubelets' logs and from their state.
fn unready(cluster: &Cluster, pods: &[Value]) -> String {
    let mut lines: Vec<String> = pods
        .iter()
        .filter(|p| !is_ready(p))
        .map(|p| {
            let reasons: Vec<String> = list(p, "/status/conditions")
                .iter()
                .filter(|c| text(c, "/status") != "True")
                .map(|c| format!("{} {}", text(c, "/type"), text(c, "/message")))
                .collect();
            format!(
                "  {} on {:?}: {}",
                text(p, "/metadata/name"),
                text(p, "/spec/nodeName"),
                reasons.join("; ")
            )
        })
        .collect();
    for node in cluster.nodes() {
        let log = std::fs::read_to_string(cluster.roster().log(&node.process("kubelet")));
        let errors = log.unwrap_or_default();
        let last = errors
            .lines()
            .rev()
            .find(|l| l.contains("failed to setup network") || l.contains("Error syncing pod"));
        lines.extend(
            last.map(|l| format!("  {}: {}", node.name(), l.chars().take(600).collect::<String>())),
        );
        lines.push(cluster.roster().tail(&node.process("tidewayd")));
    }
    lines.join("\n")
}

/// Waits until each node offers this many exclusive devices.
pub fn wait_devices(cluster: &Cluster, count: &str) -> Result<String> {
    let kubectl = cluster.kubectl()?;
    wait::until("devices aliyun/eni in the nodes' allocatable", PATIENCE, || {
        let nodes = kubectl.get("nodes")?;
        let count_of = |node| text(node, "/status/allocatable/aliyun~1eni");
        let nodes = list(&nodes, "/items");
        let offered: Vec<String> = nodes
            .iter()
            .map(|node| format!("{} {}", text(node, "/metadata/name"), count_of(node)))
            .collect();
        let offered = offered.join(", ");
        let right = nodes.iter().filter(|node| count_of(node) == count).count();
        let all = right == cluster.nodes().len();
        Ok(if all { Look::Seen(offered) } else { Look::NotYet(offered) })
    })
}

/// One exclusive pod too many: created, seen Pending for the right reason, deleted. Answers the reason and who gave it: the
/// scheduler itself counts devices, and asks the extender only about nodes where it sees one.
pub fn third_stays_pending(cluster: &Cluster) -> Result<String> {
    let kubectl = cluster.kubectl()?;
    kubectl.apply(&manifest(include_str!("../../demo/third.yaml")))?;
    let reason =
        wait::until("the third exclusive pod is refused", Duration::from_secs(15), || {
            let pod = kubectl.get("pods/third")?;
            let phase = text(&pod, "/status/phase");
            if phase != "Pending" || !text(&pod, "/spec/nodeName").is_empty() {
                bail!(
                    "the third exclusive pod is {phase} on node {:?}: there is no slot for it",
                    text(&pod, "/spec/nodeName")
                );
            }
            let condition = list(&pod, "/status/conditions")
                .iter()
                .find(|c| text(c, "/type") == "PodScheduled");
            let message = condition.map_or("", |c| text(c, "/message"));
            let by = if message.contains("tideway: ") {
                "the extender"
            } else if message.contains("Insufficient aliyun/eni") {
                "in-tree, by the devices"
            } else {
                return Ok(Look::NotYet(format!("{phase}: {message}")));
            };
            Ok(Look::Seen(format!("{message} (said {by})")))
        })?;
    kubectl.run(["delete", "pod", "third", "--wait=true"])?;
    Ok(reason)
}

/// Makes a Service for each backend and policy that the rows name, and waits until every kube-proxy has them.
pub fn serve(cluster: &Cluster, scene: &mut Scene, rows: &[Row]) -> Result<()> {
    let kubectl = cluster.kubectl()?;
    let mut wanted: BTreeSet<(Policy, Spot)> = BTreeSet::new();
    for row in rows {
        if let Destination::ClusterIp { backend } = &row.to {
            wanted.insert((Policy::Cluster, backend.clone()));
        } else if let Destination::NodePort { backend, policy, .. } = &row.to {
            wanted.insert((*policy, backend.clone()));
        }
    }
    let mut manifests = Vec::new();
    let backends: BTreeSet<&Spot> = wanted.iter().map(|(_, spot)| spot).collect();
    for spot in backends {
        let label = format!("backend={}", backend_label(spot));
        kubectl.run(["label", "pod", &scene.pod(spot)?.name, &label])?;
    }
    for (policy, spot) in &wanted {
        let policy_name = format!("{policy:?}");
        manifests.push(fill(
            include_str!("../../demo/service.yaml"),
            &[
                ("NAME", &service_name(*policy, spot)),
                ("POLICY", &policy_name),
                ("BACKEND", &backend_label(spot)),
            ],
        ));
    }
    kubectl.apply(&manifests.join("---\n"))?;
    scene.add_services(&kubectl.get("services?labelSelector=demo=matrix")?)?;
    wait_proxied(cluster, &wanted)
}

/// kube-proxy names a chain after each endpoint of each Service port: all of them must be in both families' tables.
fn wait_proxied(cluster: &Cluster, wanted: &BTreeSet<(Policy, Spot)>) -> Result<()> {
    wait::until("kube-proxy has every Service", Duration::from_secs(20), || {
        for node in cluster.nodes() {
            for family in ["ip", "ip6"] {
                let mut list = node.command("nft")?;
                let text = command::run(list.args(["list", "table", family, "kube-proxy"]))
                    .unwrap_or_default();
                for (policy, spot) in wanted {
                    let service = service_name(*policy, spot);
                    let mark = format!("default/{service}/tcp/");
                    let there =
                        text.lines().any(|l| l.contains("chain endpoint-") && l.contains(&mark));
                    if !there {
                        return Ok(Look::NotYet(format!(
                            "{}: no endpoint of {service} in table {family}",
                            node.name()
                        )));
                    }
                }
            }
        }
        Ok(Look::Seen(()))
    })
}

/// Deletes everything and waits until no pod is left, which is after the last DEL.
pub fn delete(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.kubectl()?;
    kubectl.run(["delete", "deployments", "--all", "--wait=false"])?;
    kubectl.run(["delete", "services", "-l", "demo=matrix", "--wait=false"])?;
    wait::until("every pod gone", PATIENCE, || {
        let names = kubectl.names("pods")?;
        Ok(if names.is_empty() { Look::Seen(()) } else { Look::NotYet(names.join(" ")) })
    })
}

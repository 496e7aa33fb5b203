//! A node reboots under its pods: disk, cloud and API stay, everything in the kernel and in `/run` is gone.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tideway_e2e::{
    cluster::{Node, list, text},
    demo::workloads,
    wait::{self, Look},
};

use crate::{
    bed::{Bed, PATIENCE},
    pods::{Live, is_ready, restarts, spec},
    scenarios::daemonset,
};

/// Pods of the Deployment that asks for nothing.
const SHARED: usize = 3;

/// The host unit is up before the kubelet admits pods, and its device plugin is there when admission asks.
pub(crate) fn after_a_reboot_with_the_host_unit_an_exclusive_pod_has_its_eni_again(
    bed: &Bed,
) -> Result<()> {
    let [other, node] = bed.nodes();
    let pods = [("own", &node, true), ("shared", &node, false)];
    let before = bed.create_live(&pods)?;
    reboot(bed, &node)?;
    for name in ["own", "shared"] {
        let again = |p: &Value| restarts(p) == 1 && is_ready(p);
        bed.pod_until(name, "runs again", PATIENCE, again)?;
    }
    let after = [bed.live("own", &node)?, bed.live("shared", &node)?];
    ensure!(before[0] == after[0] && after[0].mode == "exclusive", "{before:?}\n{after:?}");
    ensure!(before[1].uid == after[1].uid && after[1].mode == "veth", "{before:?}\n{after:?}");
    let both: Vec<Value> = list(&bed.kubectl()?.get("pods")?, "/items").to_vec();
    Bed::all_differ(&both)?;
    workloads::wait_devices(&bed.cluster, "1")?;
    for pod in &after {
        bed.reaches(&other, &pod.ips)?;
    }
    Ok(())
}

/// With the `DaemonSet` no device plugin is back when the kubelet admits pods: those with a device fail there, and their
/// controller makes new ones.
pub(crate) fn after_a_reboot_with_the_daemonset_exclusive_pods_are_replaced(
    bed: &Bed,
) -> Result<()> {
    daemonset::installed(bed)?;
    let [node, other] = bed.nodes();
    bed.create(&[deployment("own", &node, true, 1), deployment("shared", &node, false, SHARED)])?;
    let own = ready(bed, &node, "own", 1)?.remove(0);
    let shared = ready(bed, &node, "shared", SHARED)?;
    reboot(bed, &node)?;

    let kubectl = bed.kubectl()?;
    wait::until("the kubelet refuses the exclusive pod", PATIENCE, || {
        let pod = kubectl.get(&format!("pods/{}", own.0))?;
        let refused = text(&pod, "/status/phase") == "Failed"
            && text(&pod, "/status/reason") == "UnexpectedAdmissionError";
        let seen = pod.get("status").map(Value::to_string).unwrap_or_default();
        Ok(if refused { Look::Seen(()) } else { Look::NotYet(seen) })
    })?;
    // Its dead sandbox stays until the kubelet collects it, a minute after its start: the rule of looks frees the ENI before.
    let replaced = ready(bed, &node, "own", 1)?.remove(0);
    ensure!(replaced.1.uid != own.1.uid && replaced.1.mode == "exclusive", "{own:?}\n{replaced:?}");
    wait::until("every shared pod was started again", PATIENCE, || {
        let pods = kubectl.get("pods?labelSelector=app=shared")?;
        let counts: Vec<u64> = list(&pods, "/items").iter().map(restarts).collect();
        let all = counts.iter().all(|count| *count == 1);
        Ok(if all { Look::Seen(()) } else { Look::NotYet(format!("restarts {counts:?}")) })
    })?;
    let again = ready(bed, &node, "shared", SHARED)?;
    let uids = |pods: &[(String, Live)]| -> Vec<String> {
        pods.iter().map(|(_, live)| live.uid.clone()).collect()
    };
    ensure!(uids(&shared) == uids(&again), "{shared:?}\n{again:?}");

    // The dead sandboxes are out of the books, and no address is held twice.
    wait::until("the daemon knows the living pods alone", PATIENCE, || {
        let shown = bed.show(&node)?;
        let pods = list(&shown, "/pods");
        let right = pods.len() == 1 + SHARED && list(&shown, "/waiting").is_empty();
        Ok(if right { Look::Seen(()) } else { Look::NotYet(format!("{pods:?}")) })
    })?;
    let living: Vec<(String, Live)> = again.into_iter().chain([replaced]).collect();
    let mut ips: Vec<_> = living.iter().flat_map(|(_, live)| live.ips.clone()).collect();
    bed.reaches(&other, &ips)?;
    ips.sort();
    ips.dedup();
    ensure!(ips.len() == 2 * (1 + SHARED), "given twice: {living:?}");
    workloads::wait_devices(&bed.cluster, "1").map(drop)
}

/// Reboots and waits until the API has heard it from the new kubelet.
fn reboot(bed: &Bed, node: &Node<'_>) -> Result<()> {
    let kubectl = bed.kubectl()?;
    let boot = || -> Result<String> {
        let shown = kubectl.get(&format!("nodes/{}", node.name()))?;
        Ok(text(&shown, "/status/nodeInfo/bootID").to_owned())
    };
    let before = boot()?;
    bed.reboot(node)?;
    wait::until("the kubelet tells the new boot", PATIENCE, || {
        let now = boot()?;
        Ok(if now == before { Look::NotYet(now) } else { Look::Seen(()) })
    })?;
    bed.cluster.wait_ready()
}

fn deployment(name: &str, node: &Node<'_>, exclusive: bool, replicas: usize) -> Value {
    let mut spec = spec(exclusive);
    spec["nodeSelector"] = json!({"kubernetes.io/hostname": node.name()});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
    })
}

/// Waits until so many pods of a Deployment are ready and their daemon shows them; with their names, sorted.
fn ready(bed: &Bed, node: &Node<'_>, app: &str, count: usize) -> Result<Vec<(String, Live)>> {
    let kubectl = bed.kubectl()?;
    let labelled = format!("pods?labelSelector=app={app}");
    let names = wait::until(&format!("{count} pods of {app} are ready"), PATIENCE, || {
        let pods = kubectl.get(&labelled)?;
        let pods = list(&pods, "/items");
        let mut names: Vec<String> = pods
            .iter()
            .filter(|p| is_ready(p) && text(p, "/status/phase") == "Running")
            .map(|p| text(p, "/metadata/name").to_owned())
            .collect();
        names.sort();
        let phases = pods.iter().map(|p| {
            let (name, phase) = (text(p, "/metadata/name"), text(p, "/status/phase"));
            format!("{name} {phase} {}", text(p, "/status/reason"))
        });
        let seen = phases.collect::<Vec<_>>().join("\n  ");
        Ok(if names.len() == count { Look::Seen(names) } else { Look::NotYet(seen) })
    })?;
    names.into_iter().map(|name| bed.live(&name, node).map(|live| (name, live))).collect()
}

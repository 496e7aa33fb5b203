//! Pods that must get no ENI: one that only claims to have a device, and one that was admitted without any.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tideway_e2e::{
    cluster::{list, text},
    demo::workloads,
    wait::{self, Look},
};

use crate::{
    bed::{Bed, SOON},
    pods::pod,
    scenarios::kubelet::listed_after,
};

pub(crate) fn annotations_written_by_hand_give_a_shared_address_and_no_eni(
    bed: &Bed,
) -> Result<()> {
    let [node, other] = bed.nodes();
    let mut cheat = pod("cheat", &node, false);
    cheat["metadata"]["annotations"] = json!({
        "k8s.aliyun.com/eni": "true",
        "k8s.aliyun.com/pod-eni": "true",
        "k8s.aliyun.com/pod-networks": "[{\"interface\":\"eth0\",\"eni\":{}}]",
        "tideway.dev/mode": "exclusive",
        "tideway.dev/device": "slot-0",
        "tideway.dev/lease": "slot-0",
    });
    bed.create(&[cheat])?;
    let live = bed.live("cheat", &node)?;
    ensure!(live.mode == "veth", "{live:?}");
    let shown = bed.show(&node)?;
    let enis = list(&shown, "/enis");
    let eni = enis.iter().find(|e| text(e, "/id") == live.eni).context("an unknown ENI")?;
    ensure!(text(eni, "/use") == "shared", "{live:?} is on {eni}");
    let held = list(&shown, "/devices").iter().any(|d| text(d, "/pod") == "default/cheat");
    ensure!(!held, "the pod holds a device: {shown}");
    bed.reaches(&other, &live.ips)
}

pub(crate) fn a_pod_admitted_before_the_plugin_registered_is_refused_with_the_cause(
    bed: &Bed,
) -> Result<()> {
    let [node, _] = bed.nodes();
    // A kubelet that never heard of the resource: without its checkpoint, and without a plugin.
    bed.stop_daemon(&node)?;
    bed.kill(&node, "kubelet")?;
    fs::remove_file(node.directory("kubelet").join("device-plugins/kubelet_internal_checkpoint"))?;
    bed.start_daemon(&node, "  devicePluginDir: \"\"\n")?;
    node.start_kubelet()?;
    bed.show(&node)?;
    let outcome = is_refused(bed, node.name());
    // Whatever came of it, the next scenario needs the plugin.
    listed_after(bed, &node, || {
        bed.stop_daemon(&node)?;
        bed.start_daemon(&node, "")
    })?;
    outcome?;
    bed.kubectl()?.run(["delete", "pod", "bound", "--wait=true"])?;
    // The API may still show what the kubelet offered before.
    workloads::wait_devices(&bed.cluster, "1")?;
    let live = bed.create_live(&[("served", &node, true)])?.remove(0);
    ensure!(live.mode == "exclusive", "{live:?}");
    Ok(())
}

fn is_refused(bed: &Bed, node: &str) -> Result<()> {
    bed.cluster.wait_ready()?;
    let nodes = bed.cluster.nodes();
    let here = nodes.iter().find(|n| n.name() == node).expect("a node of the cluster");
    let mut bound = pod("bound", here, true);
    bound["spec"]["nodeName"] = json!(node);
    bed.create(&[bound])?;
    let cause = wait::until("the refusal with its cause in the pod's events", SOON, || {
        let events = bed.events("bound")?;
        let told =
            |e: &&String| e.starts_with("FailedCreatePodSandBox") && e.contains("holds no device");
        Ok(match events.iter().find(told) {
            Some(event) => Look::Seen(event.clone()),
            None => Look::NotYet(events.join("\n  ")),
        })
    })?;
    ensure!(cause.contains("was not registered"), "no cause: {cause}");
    has_one_event_of_ours(bed)?;
    let shown = bed.show(here)?;
    ensure!(list(&shown, "/pods").is_empty(), "leaked: {shown}");
    Ok(())
}

/// The runtime tries again and again, and each try fails.
fn has_one_event_of_ours(bed: &Bed) -> Result<()> {
    let kubectl = bed.kubectl()?;
    let ours = "events?fieldSelector=involvedObject.name=bound,source=tidewayd";
    wait::until("the daemon's event on the pod", SOON, || {
        let events = kubectl.get(ours)?;
        let [event] = list(&events, "/items") else {
            ensure!(list(&events, "/items").is_empty(), "more than one: {events}");
            return Ok(Look::NotYet("no event".to_owned()));
        };
        let as_catalogued = text(event, "/reason") == "NoDevice"
            && text(event, "/type") == "Warning"
            && text(event, "/message").contains("delete the pod so that it is admitted again");
        ensure!(as_catalogued, "{event}");
        Ok(Look::Seen(()))
    })
}

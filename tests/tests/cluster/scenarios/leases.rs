//! Leases with a real `StatefulSet`: its pod has its address again where that is, and hears of it where it is not.

use std::{net::IpAddr, time::Duration};

use anyhow::{Result, ensure};
use serde_json::json;
use tideway_e2e::{
    cluster::{Node, list, text},
    wait::{self, Look},
};

use crate::{
    bed::{Bed, SOON},
    pods::{Live, is_ready, spec},
};

const POD: &str = "db-0";
/// The node that keeps a lease asks for its pod once a minute.
const TOLD: Duration = Duration::from_mins(3);
/// It asks every two minutes for the owner of a lease whose pod is away, and believes two answers.
const ENDED: Duration = Duration::from_mins(6);

pub(crate) fn a_statefulset_gets_its_address_again_after_others_have_come(bed: &Bed) -> Result<()> {
    let [node, other] = bed.nodes();
    create(bed, &node)?;
    let before = bed.live(POD, &node)?;
    // Pods that come while it is away take what is free.
    bed.kubectl()?.run(["scale", "statefulset", "db", "--replicas=0"])?;
    gone(bed, &before.uid)?;
    bed.create_live(&[("first", &node, false), ("second", &node, false)])?;
    bed.kubectl()?.run(["scale", "statefulset", "db", "--replicas=1"])?;
    let after = again(bed, &node, &before)?;
    ensure!(after.ips == before.ips, "{before:?} came back as {after:?}");
    bed.reaches(&other, &after.ips)?;
    delete(bed)
}

pub(crate) fn a_pod_on_another_node_than_its_lease_is_told_so_and_has_its_address_when_it_is_back(
    bed: &Bed,
) -> Result<()> {
    let [node, other] = bed.nodes();
    create(bed, &node)?;
    let before = bed.live(POD, &node)?;
    place(bed, &other)?;
    let away = again(bed, &other, &before)?;
    ensure!(away.ips != before.ips, "{before:?} on {}, and so {away:?}", node.name());
    let lease = before.ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" and ");
    wait::until("the event about the lease", TOLD, || {
        let events = bed.events(POD)?;
        let told = |event: &String| {
            event.starts_with("LeasedAddressOnOtherNode")
                && event.contains(&lease)
                && event.contains(node.name())
        };
        let seen = events.iter().any(told);
        Ok(if seen { Look::Seen(()) } else { Look::NotYet(events.join("\n")) })
    })?;
    place(bed, &node)?;
    let back = again(bed, &node, &away)?;
    ensure!(back.ips == before.ips, "{before:?} came back as {back:?}");
    delete(bed)
}

pub(crate) fn a_lease_ends_early_when_its_statefulset_is_gone_for_good(bed: &Bed) -> Result<()> {
    let [node, _other] = bed.nodes();
    create(bed, &node)?;
    let before = bed.live(POD, &node)?;
    bed.kubectl()?.run(["scale", "statefulset", "db", "--replicas=0"])?;
    gone(bed, &before.uid)?;
    let leases = || -> Result<Vec<String>> {
        Ok(list(&bed.show(&node)?, "/leases").iter().map(|l| text(l, "/pod").to_owned()).collect())
    };
    ensure!(leases()? == [format!("default/{POD}")], "{:?}", leases());
    delete(bed)?;
    wait::until("the end of the lease", ENDED, || {
        let left = leases()?;
        Ok(if left.is_empty() { Look::Seen(()) } else { Look::NotYet(format!("{left:?}")) })
    })
}

/// One pod, on this node.
fn create(bed: &Bed, node: &Node<'_>) -> Result<()> {
    let mut pod = spec(false);
    pod["nodeSelector"] = json!({"kubernetes.io/hostname": node.name()});
    bed.create(&[json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
        "spec": {
            "serviceName": "db", "replicas": 1, "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": pod},
        },
    })])?;
    wait::until("the StatefulSet's pod", SOON, || {
        let pods = bed.kubectl()?.names("pods?labelSelector=app=db")?.join(" ");
        Ok(if pods.contains(POD) { Look::Seen(()) } else { Look::NotYet(pods) })
    })
}

/// Its pod goes, and the next one comes to this node.
fn place(bed: &Bed, node: &Node<'_>) -> Result<()> {
    let selector = json!({"kubernetes.io/hostname": node.name()});
    let patch = json!({"spec": {"template": {"spec": {"nodeSelector": selector}}}}).to_string();
    bed.kubectl()?.run(["patch", "statefulset", "db", "-p", &patch]).map(drop)
}

/// Waits until another pod of the name is ready on this node.
fn again(bed: &Bed, node: &Node<'_>, before: &Live) -> Result<Live> {
    gone(bed, &before.uid)?;
    let next = |pod: &serde_json::Value| {
        is_ready(pod)
            && text(pod, "/metadata/uid") != before.uid
            && text(pod, "/spec/nodeName") == node.name()
    };
    wait::until("the next pod", SOON, || {
        let pods = bed.kubectl()?.names("pods?labelSelector=app=db")?.join(" ");
        Ok(if pods.contains(POD) { Look::Seen(()) } else { Look::NotYet(pods) })
    })?;
    bed.pod_until(POD, "is ready again", TOLD, next)?;
    bed.live(POD, node)
}

/// Waits until no pod has this UID.
fn gone(bed: &Bed, uid: &str) -> Result<()> {
    let of_pods = ["get", "pods", "-o", "jsonpath={.items[*].metadata.uid}"];
    wait::until("the former pod is gone", SOON, || {
        let uids = bed.kubectl()?.run(of_pods)?;
        Ok(if uids.contains(uid) { Look::NotYet(uids) } else { Look::Seen(()) })
    })
}

/// The workload goes for good.
fn delete(bed: &Bed) -> Result<()> {
    bed.kubectl()?.run(["delete", "statefulset", "db"])?;
    Ok(())
}

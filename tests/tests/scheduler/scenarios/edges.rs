//! Pods that count otherwise than most: on the host's network, of other schedulers, complete, deleted by force, waiting for a
//! volume.

use std::time::Duration;

use anyhow::{Result, ensure};
use hyper::Method;
use serde_json::{Value, json};

use crate::{
    agent::{Kind, Pace, Shape},
    bed::Bed,
    objects::{self, Allocatable},
    stack::{Mode, Setting},
};

pub(crate) fn pods_that_need_nothing_of_ours_go_anywhere(bed: &Bed) -> Result<()> {
    bed.run_with(Setting::of(Mode::Default))?;
    bed.namespace("kinds")?;
    bed.nodes("kinds", 2, Shape::addresses(2), Allocatable::default())?;
    // Somebody else fills the first node.
    let foreign = |i: i32| {
        let spec = json!({"schedulerName": "other", "nodeName": "kinds-0"});
        objects::with(objects::pod(&format!("foreign{i}"), Kind::Shared), spec)
    };
    bed.pods("kinds", (0..2).map(foreign))?;
    bed.wait("the foreign pods run", |bed| {
        let world = bed.world();
        let run = world.of("kinds").filter(|p| p.running).count();
        ensure!(run == 2 && world.is_at_rest(), "{run} do");
        Ok(())
    })?;
    let ours = (0..3).map(|i| objects::pod(&format!("p{i}"), Kind::Shared));
    let host = (0..6).map(|i| {
        let pod = objects::pod(&format!("host{i}"), Kind::Shared);
        objects::with(pod, json!({"hostNetwork": true}))
    });
    bed.pods("kinds", ours.chain(host))?;
    bed.wait_bound("kinds", 2 + 2 + 6)?;
    bed.wait_refused("kinds", 1)?;
    ensure!(bed.waiting("kinds").iter().all(|n| n.starts_with('p')), "a pod of the host waits");
    bed.never_above()?;
    // A pod that is complete gives its address back, although its object stays.
    let done = json!({"status": {"phase": "Succeeded"}});
    let path = "/api/v1/namespaces/kinds/pods/foreign0/status";
    bed.call(Method::PATCH, path, Some(&done))?;
    bed.wait("the third pod is bound", |bed| {
        let waiting = bed.waiting("kinds");
        ensure!(waiting.is_empty(), "{waiting:?} wait");
        Ok(())
    })?;
    bed.never_above()
}

pub(crate) fn a_force_deleted_pod_keeps_its_address_until_its_node_says_otherwise(
    bed: &Bed,
) -> Result<()> {
    bed.run_with(Setting::of(Mode::Default))?;
    bed.namespace("force")?;
    bed.world().pace = Pace { teardown: Duration::from_secs(2), ..Pace::default() };
    bed.nodes("force", 4, Shape::addresses(3), Allocatable::default())?;
    bed.pods("force", (0..18).map(|i| objects::pod(&format!("p{i}"), Kind::Shared)))?;
    bed.wait_bound("force", 12)?;
    bed.wait_refused("force", 6)?;
    bed.wait("the nodes are at rest", |bed| {
        ensure!(bed.world().is_at_rest(), "they are not");
        Ok(())
    })?;
    let gone: Vec<String> = bed.bound("force").into_iter().take(6).collect();
    bed.delete("force", &gone, Some(0))?;
    bed.wait_bound("force", 12)?;
    bed.never_above()
}

/// The hold of an ordinary pod is five seconds here; the volume takes longer.
pub(crate) fn a_volume_that_binds_later_than_a_hold_keeps_its_address(bed: &Bed) -> Result<()> {
    bed.run_with(Setting { hold_seconds: 5, ..Setting::of(Mode::Default) })?;
    bed.namespace("volume")?;
    bed.nodes("volume", 1, Shape::addresses(1), Allocatable::default())?;
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "late"},
        "provisioner": "test/late", "volumeBindingMode": "WaitForFirstConsumer",
    });
    bed.create("/apis/storage.k8s.io/v1/storageclasses", &class)?;
    let claims = "/api/v1/namespaces/volume/persistentvolumeclaims";
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "late",
            "resources": {"requests": {"storage": "1Gi"}}},
    });
    let made = bed.create(claims, &claim)?;
    let volumes =
        json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]});
    let slow = objects::with(objects::pod("slow", Kind::Shared), volumes);
    bed.pods("volume", [slow])?;
    bed.wait("the scheduler has chosen the node for the volume", |bed| {
        let claim = bed.get(&format!("{claims}/data"))?;
        let chosen = claim.pointer("/metadata/annotations/volume.kubernetes.io~1selected-node");
        ensure!(chosen.is_some(), "it has not");
        Ok(())
    })?;
    bed.pods("volume", [objects::pod("quick", Kind::Shared)])?;
    bed.wait_refused("volume", 1)?;
    bed.observe(Duration::from_secs(7))?;
    ensure!(bed.bound("volume").is_empty(), "bound: {:?}", bed.bound("volume"));
    bind_volume(bed, claims, &made)?;
    bed.wait_bound("volume", 1)?;
    ensure!(bed.bound("volume") == ["slow"], "bound: {:?}", bed.bound("volume"));
    bed.wait_refused("volume", 1)?;
    bed.delete("volume", &["slow".into()], None)?;
    bed.wait("the other pod has the address", |bed| {
        let bound = bed.bound("volume");
        ensure!(bound == ["quick"], "bound: {bound:?}");
        Ok(())
    })?;
    bed.never_above()
}

/// What the volume controller would do.
fn bind_volume(bed: &Bed, claims: &str, claim: &Value) -> Result<()> {
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "late",
            "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/none"},
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "volume",
                "name": "data", "uid": claim["metadata"]["uid"]}},
    });
    bed.create("/api/v1/persistentvolumes", &volume)?;
    let bound = json!({"status": {"phase": "Bound"}});
    bed.call(Method::PATCH, "/api/v1/persistentvolumes/data/status", Some(&bound))?;
    let annotations = json!({
        "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {"volumeName": "data"},
    });
    bed.call(Method::PATCH, &format!("{claims}/data"), Some(&annotations))?;
    bed.call(Method::PATCH, &format!("{claims}/data/status"), Some(&bound))?;
    Ok(())
}

//! Pods that take longer to their binding than a hold lasts.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hyper::Method;
use serde_json::{Value, json};

use crate::{
    agent::{Kind, Shape},
    bed::Bed,
    figures::{Figures, unwelcome},
    objects::{self, Allocatable},
    stack::{Mode, Pair, Setting},
};

/// How long an ordinary pod may take to its binding here.
const HOLD: u32 = 6;
/// How long the slow one takes.
const SLOW: Duration = Duration::from_secs(15);

/// One node with one address.
fn last_address(bed: &Bed, namespace: &str, mode: Mode) -> Result<()> {
    bed.run_with(Setting { hold_seconds: HOLD, ..Setting::of(mode) })?;
    bed.namespace(namespace)?;
    bed.nodes(namespace, 1, Shape::addresses(1), Allocatable::default())
}

fn wait_only(bed: &Bed, namespace: &str, name: &str) -> Result<()> {
    bed.wait(&format!("{name} alone is bound"), |bed| {
        let bound = bed.bound(namespace);
        ensure!(bound == [name], "bound: {bound:?}");
        Ok(())
    })
}

/// The last address is held for the slow pod, and then given to the quick one. By whom the slow one is bound decides the rest.
pub(crate) fn a_permit_that_outlasts_a_hold(bed: &Bed, mode: Mode) -> Result<()> {
    last_address(bed, "permit", mode)?;
    let (ended, overshoot) = (unwelcome("hold_ended")?, unwelcome("overshoot")?);
    let mut slow = objects::pod("slow", Kind::Shared);
    slow["metadata"]["annotations"] =
        json!({"tideway.test/permit": format!("{}s", SLOW.as_secs())});
    bed.pods("permit", [slow])?;
    bed.wait("the slow pod is on its way", |_| {
        let page = Figures::of_extender(Pair::First)?;
        ensure!(page.sum("tideway_extender_books", &["in_flight"]) >= 1.0, "it is not");
        Ok(())
    })?;
    bed.pods("permit", [objects::pod("quick", Kind::Shared)])?;
    bed.wait_refused("permit", 1)?;
    wait_only(bed, "permit", "quick")?;
    bed.wait("the hold that ended is counted", |_| {
        ensure!(unwelcome("hold_ended")? > ended, "it is not");
        Ok(())
    })?;
    if mode == Mode::Default {
        // The scheduler binds without asking again: the pod waits on its node, and that is counted.
        bed.wait_bound("permit", 2)?;
        let seen = bed.world().overshoots.len();
        ensure!(seen == 1, "{seen} bindings too many, not one");
        return bed.wait("it is counted", |_| {
            ensure!(unwelcome("overshoot")? > overshoot, "it is not");
            Ok(())
        });
    }
    bed.observe(SLOW)?;
    ensure!(bed.bound("permit") == ["quick"], "bound: {:?}", bed.bound("permit"));
    bed.delete("permit", &["quick".into()], None)?;
    wait_only(bed, "permit", "slow")?;
    ensure!(unwelcome("overshoot")? <= overshoot, "something is counted that was not there");
    bed.never_above()
}

/// For a pod that waits for a volume the extender holds its address longer.
pub(crate) fn a_volume_that_binds_later_than_a_hold_keeps_its_address(
    bed: &Bed,
    mode: Mode,
) -> Result<()> {
    // Claims are not deleted, since there is no controller that would let them go.
    let space = format!("volume-{mode:?}").to_lowercase();
    last_address(bed, &space, mode)?;
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": space},
        "provisioner": "test/late", "volumeBindingMode": "WaitForFirstConsumer",
    });
    bed.create("/apis/storage.k8s.io/v1/storageclasses", &class)?;
    let claims = format!("/api/v1/namespaces/{space}/persistentvolumeclaims");
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": space,
            "resources": {"requests": {"storage": "1Gi"}}},
    });
    let created = bed.create(&claims, &claim)?;
    let volumes =
        json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]});
    let slow = objects::with(objects::pod("slow", Kind::Shared), volumes);
    bed.pods(&space, [slow])?;
    bed.wait("the scheduler has chosen the node for the volume", |bed| {
        let claim = bed.get(&format!("{claims}/data"))?;
        let chosen = claim.pointer("/metadata/annotations/volume.kubernetes.io~1selected-node");
        chosen.map(drop).context("it has not")
    })?;
    bed.pods(&space, [objects::pod("quick", Kind::Shared)])?;
    bed.wait_refused(&space, 1)?;
    bed.observe(Duration::from_secs(u64::from(HOLD) + 3))?;
    ensure!(bed.bound(&space).is_empty(), "bound: {:?}", bed.bound(&space));
    bind_volume(bed, &space, &claims, &created)?;
    wait_only(bed, &space, "slow")?;
    bed.wait_refused(&space, 1)?;
    bed.delete(&space, &["slow".into()], None)?;
    wait_only(bed, &space, "quick")?;
    bed.never_above()
}

/// What the volume controller would do.
fn bind_volume(bed: &Bed, space: &str, claims: &str, claim: &Value) -> Result<()> {
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": space},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": space,
            "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/none"},
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": space,
                "name": "data", "uid": claim["metadata"]["uid"]}},
    });
    bed.create("/api/v1/persistentvolumes", &volume)?;
    let bound = json!({"status": {"phase": "Bound"}});
    bed.call(Method::PATCH, &format!("/api/v1/persistentvolumes/{space}/status"), Some(&bound))?;
    let annotations = json!({
        "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {"volumeName": space},
    });
    bed.call(Method::PATCH, &format!("{claims}/data"), Some(&annotations))?;
    bed.call(Method::PATCH, &format!("{claims}/data/status"), Some(&bound))?;
    Ok(())
}

//! The daemon is killed at the worst moment, and in the end gives everything back.

use std::time::Duration;

use anyhow::{Result, ensure};
use tideway_e2e::{
    cluster::text,
    wait::{self, Look},
};

use crate::{
    bed::{Bed, SOON},
    pods::{is_ready, pod},
};

pub(crate) fn a_daemon_killed_between_allocate_and_add_still_plumbs_the_eni(
    bed: &Bed,
) -> Result<()> {
    let [other, node] = bed.nodes();
    bed.create(&[pod("own", &node, true)])?;
    let made = bed.kubectl()?.get("pods/own")?;
    let uid = text(&made, "/metadata/uid").to_owned();
    // The kubelet writes the allocation down before it makes the sandbox.
    wait::until("the kubelet's books name the pod", SOON, || {
        let books = Bed::read(&node, "kubelet", "device-plugins/kubelet_internal_checkpoint")?;
        Ok(if books.contains(&uid) { Look::Seen(()) } else { Look::NotYet(books) })
    })?;
    bed.kill(&node, "tidewayd")?;
    bed.start_daemon(&node, "")?;
    // Where the kill met a call to the cloud, its outcome is read back when a late effect must show (60 s).
    bed.pod_until("own", "is ready", Duration::from_mins(3), is_ready)?;
    let live = bed.live("own", &node)?;
    ensure!(live.mode == "exclusive" && live.uid == uid, "{live:?}");
    bed.reaches(&other, &live.ips)
}

pub(crate) fn after_all_faults_uninstall_gives_everything_back(bed: &Bed) -> Result<()> {
    bed.give_back()
}

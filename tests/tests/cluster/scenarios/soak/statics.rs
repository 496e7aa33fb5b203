//! Pods that a kubelet runs from files: they come and go while there is no API server.

use std::{collections::BTreeMap, fs, time::Instant};

use anyhow::{Result, ensure};
use tideway_e2e::{
    cluster::{Node, list, text},
    wait::{self, Look},
};

use super::{PODS, ROUND};
use crate::{bed::Bed, pods::pod};

/// Pods of a round on both nodes; then those of the rounds before go.
pub(super) fn round(bed: &Bed, round: usize) -> Result<()> {
    let prefix = format!("static-{round}-");
    for node in bed.nodes() {
        for number in 0..PODS {
            write(&node, &format!("{prefix}{number}"))?;
        }
    }
    let began = Instant::now();
    wait::until("the round's static pods", 2 * ROUND, || {
        let plumbed = plumbed(bed, &format!("default/{prefix}"))?;
        let enough = plumbed >= PODS || began.elapsed() >= ROUND;
        Ok(if enough { Look::Seen(()) } else { Look::NotYet(format!("{plumbed} plumbed")) })
    })?;
    remove(bed, |name| !name.starts_with(&prefix))
}

/// All of them go.
pub(super) fn clear(bed: &Bed) -> Result<()> {
    remove(bed, |_| true)
}

/// In one step, so that the kubelet reads no half of it.
fn write(node: &Node<'_>, name: &str) -> Result<()> {
    let mut pod = pod(name, node, false);
    pod["metadata"]["namespace"] = "default".into();
    let half = node.directory("kubelet").join("static-pod.json");
    fs::write(&half, pod.to_string())?;
    Ok(fs::rename(half, node.static_pods().join(format!("{name}.json")))?)
}

/// How many pods of the prefix the daemons show. No two pods have the same address.
fn plumbed(bed: &Bed, prefix: &str) -> Result<usize> {
    let mut owners = BTreeMap::new();
    let mut count = 0;
    for node in bed.nodes() {
        let shown = bed.show(&node)?;
        for pod in list(&shown, "/pods") {
            let name = text(pod, "/pod");
            count += usize::from(name.starts_with(prefix));
            for ip in list(pod, "/ips").iter().filter_map(|ip| ip.as_str()) {
                let other = owners.insert(ip.to_owned(), name.to_owned());
                ensure!(other.is_none(), "{ip} was given to {other:?} and to {name}");
            }
        }
    }
    Ok(count)
}

fn remove(bed: &Bed, which: impl Fn(&str) -> bool) -> Result<()> {
    for node in bed.nodes() {
        for file in fs::read_dir(node.static_pods())? {
            let file = file?;
            if which(&file.file_name().to_string_lossy()) {
                fs::remove_file(file.path())?;
            }
        }
    }
    Ok(())
}

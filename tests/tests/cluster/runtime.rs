//! The runtime without the kubelet: sandboxes and containers of a pod, and their sudden end.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tideway_e2e::{
    cluster::Node,
    command,
    wait::{self, Look},
};

fn ctr(node: &Node<'_>, arguments: &[&str]) -> Result<String> {
    let mut command = node.command("ctr")?;
    command.args(["--namespace", "k8s.io"]);
    command::run(command.args(arguments))
}

/// Ids of a pod's sandboxes or containers (`kind` is `sandbox` or `container`) whose process runs.
pub(crate) fn running(node: &Node<'_>, pod: &str, kind: &str) -> Result<Vec<String>> {
    let filter = format!(
        "labels.\"io.kubernetes.pod.name\"=={pod},labels.\"io.cri-containerd.kind\"=={kind}"
    );
    let ids = ctr(node, &["containers", "list", "--quiet", &filter])?;
    let tasks = ctr(node, &["tasks", "list"])?;
    let runs = |id: &&str| tasks.lines().any(|l| l.starts_with(id) && l.ends_with("RUNNING"));
    Ok(ids.split_whitespace().filter(runs).map(str::to_owned).collect())
}

/// Kills the processes of a pod's only running sandbox or container; answers its id.
pub(crate) fn kill(node: &Node<'_>, pod: &str, kind: &str) -> Result<String> {
    let ids = running(node, pod, kind)?;
    ensure!(ids.len() == 1, "pod {pod} has {} running {kind}s", ids.len());
    let id = ids.into_iter().next().context("no id")?;
    ctr(node, &["tasks", "kill", "--signal", "SIGKILL", &id])?;
    Ok(id)
}

/// Waits until the pod has another running sandbox than this one, and a running container in it.
pub(crate) fn made_again(node: &Node<'_>, pod: &str, former: &str, limit: Duration) -> Result<()> {
    wait::until(&format!("another sandbox of pod {pod}"), limit, || {
        let sandboxes = running(node, pod, "sandbox")?;
        let containers = running(node, pod, "container")?;
        let new = sandboxes.iter().any(|id| id != former) && !containers.is_empty();
        Ok(if new { Look::Seen(()) } else { Look::NotYet(format!("{sandboxes:?} {containers:?}")) })
    })
}

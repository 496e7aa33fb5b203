//! `tidewayd` on the nodes, as a host unit: configuration, start, what it shows, stop, uninstall.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::binaries::Binaries;
use crate::{
    cluster::{Cluster, Node, SERVICE_CIDRS, list, text},
    command,
    wait::{self, Look},
};

/// Port on which each node's own probe answers.
pub const NODE_PORT: &str = "8088";
/// Longest warm-up: one ENI made and attached, addresses assigned.
const WARM_UP: Duration = Duration::from_mins(1);
/// How long a daemon may take to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Writes the configuration and starts the daemon, and a probe that answers for the node.
pub fn start(cluster: &Cluster, node: &Node<'_>, binaries: &Binaries) -> Result<()> {
    configure(cluster, node, "")?;
    run(node, binaries)?;
    let mut probe = node.command(&binaries.probe)?;
    node.start("node-probe", probe.args(["serve", NODE_PORT]))?;
    Ok(())
}

/// Starts the daemon with the configuration that is there; also again after its end.
pub fn run(node: &Node<'_>, binaries: &Binaries) -> Result<()> {
    node.start("tidewayd", &node.command(&binaries.daemon)?).map(drop)
}

/// Writes the daemon's configuration: that of the demo, and lines of YAML after it. Its last section is `kubernetes`.
pub fn configure(cluster: &Cluster, node: &Node<'_>, more: &str) -> Result<()> {
    let lab = cluster.lab();
    let cloud = lab.cloud_section(&lab.endpoints.inside.api, ("region", &lab.region));
    let config = crate::cluster::fill(
        include_str!("../../demo/tidewayd.yaml"),
        &[
            ("CLUSTER", &lab.id),
            ("NODE", node.name()),
            ("CLOUD", &cloud.to_string()),
            ("SERVICE_CIDRS", &SERVICE_CIDRS.map(|c| format!("{c:?}")).join(", ")),
        ],
    );
    let dir = node.directory("tideway-conf");
    fs::write(dir.join("tidewayd.yaml"), config + more)?;
    fs::copy(node.daemon_kubeconfig(), dir.join("kubeconfig"))?;
    Ok(())
}

/// What the daemon says of its node.
pub fn show(node: &Node<'_>, binaries: &Binaries) -> Result<Value> {
    let text = command::run(node.command(&binaries.cli)?.args(["status", "-o", "json"]))?;
    serde_json::from_str(&text).context("tideway status")
}

/// Waits until the pool holds what it should and nothing is under way: the state that an empty node comes back to.
pub fn wait_warm(cluster: &Cluster, node: &Node<'_>, binaries: &Binaries) -> Result<()> {
    let name = node.process("tidewayd");
    wait::until(&format!("warm pool of {}", node.name()), WARM_UP, || {
        cluster.roster().must_run(&name)?;
        let shown = match show(node, binaries) {
            Ok(shown) => shown,
            Err(error) => {
                return Ok(Look::NotYet(format!("{error:#}\n{}", cluster.roster().tail(&name))));
            }
        };
        let high = shown.pointer("/pool/high").and_then(Value::as_u64).unwrap_or(u64::MAX);
        let enis = list(&shown, "/enis");
        let busy: Vec<&str> = enis
            .iter()
            .map(|e| text(e, "/state"))
            .filter(|s| !s.eq_ignore_ascii_case("ready"))
            .collect();
        let free = enis
            .iter()
            .flat_map(|e| list(e, "/addresses"))
            .filter(|a| text(a, "/state") == "free" && !text(a, "/ip").contains(':'))
            .count();
        let free = u64::try_from(free)?;
        if busy.is_empty() && free >= high {
            return Ok(Look::Seen(()));
        }
        Ok(Look::NotYet(format!(
            "{free} of {high} addresses free, ENIs under way {busy:?}\n{}",
            cluster.roster().tail(&name)
        )))
    })
}

/// Stops the daemon and gives back what the node holds. What is said goes to the logs.
pub fn uninstall(
    cluster: &Cluster,
    node: &Node<'_>,
    binaries: &Binaries,
    logs: &Path,
) -> Result<()> {
    cluster.roster().stop(&node.process("tidewayd"), GRACE)?;
    let mut uninstall = node.command(&binaries.daemon)?;
    let output = command::output(uninstall.arg("uninstall"), None)?;
    let said = [output.stdout, output.stderr].concat();
    fs::write(logs.join(format!("uninstall-{}.log", node.name())), &said)?;
    if output.status.success() {
        return Ok(());
    }
    bail!("uninstall on {}: {}", node.name(), String::from_utf8_lossy(&said).trim());
}

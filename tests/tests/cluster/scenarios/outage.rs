//! The runtime or the API server is away: nothing may be concluded from that.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::Value;
use tideway_e2e::{
    cluster::{Node, list, text},
    wait::{self, Look},
};

use crate::{
    bed::{Bed, PATIENCE, SOON},
    pods::{Live, restarts},
    runtime,
};

/// Longer than two looks that would prove an absence (`settleSeconds` of the scenarios, twice).
const LONGER_THAN_TWO_LOOKS: Duration = Duration::from_secs(7);

pub(crate) fn a_runtime_restart_frees_nothing_and_new_pods_start(bed: &Bed) -> Result<()> {
    let [other, node] = bed.nodes();
    let before = bed.create_live(&[("shared", &node, false), ("own", &node, true)])?;
    let attached = keys(&bed.show(&node)?);
    bed.kill(&node, "containerd")?;
    let since = Instant::now();
    wait::until("nothing is freed while the runtime is away", PATIENCE, || {
        let now = keys(&bed.show(&node)?);
        ensure!(now == attached, "freed without the runtime: before {attached:?}, now {now:?}");
        for pod in &before {
            bed.reaches(&other, &pod.ips)?;
        }
        let away = since.elapsed();
        let enough = away > LONGER_THAN_TWO_LOOKS;
        Ok(if enough { Look::Seen(()) } else { Look::NotYet(format!("away for {away:?}")) })
    })?;
    node.start_containerd()?;
    // The kubelet finds the runtime again in its own time; a pod that comes too early only waits longer.
    bed.cluster.wait_ready()?;
    let fresh = bed.create_live(&[("fresh", &node, false)])?.remove(0);
    bed.reaches(&other, &fresh.ips)?;
    let after = [bed.live("shared", &node)?, bed.live("own", &node)?];
    ensure!(before == after, "before {before:?}\nafter {after:?}");
    for name in ["shared", "own"] {
        bed.pod_until(name, "was left alone", SOON, |p| restarts(p) == 0)?;
    }
    for pod in &after {
        bed.reaches(&other, &pod.ips)?;
    }
    Ok(())
}

pub(crate) fn without_the_api_server_traffic_flows_and_a_sandbox_is_made_again(
    bed: &Bed,
) -> Result<()> {
    let [node, other] = bed.nodes();
    let pods = [("left", &node, false), ("killed", &node, false), ("own", &other, true)];
    let before = bed.create_live(&pods)?;
    bed.cluster.roster().kill("apiserver")?;
    let outcome = while_away(bed, &node, &other, &before);
    bed.cluster.start_api_server()?;
    outcome?;
    bed.cluster.wait_ready()?;
    for ((name, here, _), before) in pods.iter().zip(&before) {
        // The kubelet tells the new addresses when it reaches the API server again.
        let known = addresses(&bed.show(here)?, name)?;
        let told = |p: &Value| {
            let ips = list(p, "/status/podIPs");
            ips.iter().all(|ip| known.iter().any(|k| text(ip, "/ip").parse() == Ok(*k)))
        };
        bed.pod_until(name, "has the addresses that its daemon shows", SOON, told)?;
        let after = bed.live(name, here)?;
        ensure!(after.uid == before.uid && after.eni == before.eni, "{before:?}\n{after:?}");
        bed.reaches(if here.name() == other.name() { &node } else { &other }, &after.ips)?;
    }
    Ok(())
}

fn while_away(bed: &Bed, node: &Node<'_>, other: &Node<'_>, before: &[Live]) -> Result<()> {
    bed.reaches(other, &before[0].ips)?;
    bed.reaches(node, &before[2].ips)?;
    // A daemon that starts in the dark knows its pods and serves new ones.
    bed.kill(node, "tidewayd")?;
    bed.start_daemon(node, "")?;
    bed.show(node)?;
    let former = runtime::kill(node, "killed", "sandbox")?;
    runtime::made_again(node, "killed", &former, PATIENCE)?;
    let ips = addresses(&bed.show(node)?, "killed")?;
    ensure!(ips.len() == 2, "no addresses of two families: {ips:?}");
    bed.reaches(other, &ips)?;
    bed.reaches(other, &before[0].ips)
}

/// A pod's addresses in the daemon's books, without prefix lengths.
fn addresses(shown: &Value, name: &str) -> Result<Vec<IpAddr>> {
    let key = format!("default/{name}");
    let pod = list(shown, "/pods").iter().find(|p| text(p, "/pod") == key);
    let ips = list(pod.unwrap_or(&Value::Null), "/ips").iter().filter_map(Value::as_str);
    Ok(ips.map(|ip| ip.split('/').next().unwrap_or(ip).parse()).collect::<Result<_, _>>()?)
}

/// Pods with their addresses and ENIs, in the daemon's words.
fn keys(shown: &Value) -> Vec<String> {
    let key = |p: &Value| {
        let ips = p.get("ips").cloned().unwrap_or_default();
        format!("{} {} {} {ips}", text(p, "/pod"), text(p, "/mode"), text(p, "/eni"))
    };
    let mut keys: Vec<String> = list(shown, "/pods").iter().map(key).collect();
    keys.sort();
    keys
}

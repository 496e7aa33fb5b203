//! The `NodeNetwork` objects: what the nodes tell the scheduler, against what runs.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::{binaries::Binaries, daemons};
use crate::{
    cluster::{Cluster, Node, list, text},
    command,
    wait::{self, Look},
};

/// Longest way of a change into the object: one write a second, and bursts are gathered.
const SOON: Duration = Duration::from_secs(15);

/// The type and the rights, as an operator installs them.
pub fn install(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.kubectl()?;
    kubectl.apply(include_str!("../../../manifests/crds/nodenetworks.yaml"))?;
    // The API server makes the namespace a moment after it is ready.
    wait::until("RBAC applied", SOON, || {
        Ok(match kubectl.apply(include_str!("../../../manifests/rbac.yaml")) {
            Ok(()) => Look::Seen(()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })
}

/// Tells the node's next kubelet how many pods the addresses are enough for, as `tideway maxpods` says.
pub fn set_max_pods(cluster: &Cluster, node: &Node<'_>, binaries: &Binaries) -> Result<u64> {
    let name = node.process("tidewayd");
    let told = wait::until(&format!("tideway maxpods on {}", node.name()), SOON, || {
        cluster.roster().must_run(&name)?;
        let mut ask = node.command(&binaries.cli)?;
        Ok(match command::run(ask.args(["maxpods", "-o", "json"])) {
            Ok(told) => Look::Seen(told),
            Err(error) => Look::NotYet(format!("{error:#}\n{}", cluster.roster().tail(&name))),
        })
    })?;
    let told: Value = serde_json::from_str(&told)?;
    let Some(most) = told.pointer("/maxPods").and_then(Value::as_u64) else {
        bail!("tideway maxpods said {told}");
    };
    node.set_max_pods(most)?;
    Ok(most)
}

/// The settings around the daemon are as they should be; answers what `tideway check` says of the kubelet.
pub fn check(node: &Node<'_>, binaries: &Binaries) -> Result<String> {
    let said = command::run(node.command(&binaries.cli)?.args(["check", "-o", "json"]))?;
    let said: Value = serde_json::from_str(&said)?;
    let findings = list(&said, "/findings");
    let wrong: Vec<&Value> = findings.iter().filter(|f| text(f, "/grade") != "ok").collect();
    ensure!(wrong.is_empty(), "tideway check on {}: {wrong:?}", node.name());
    let kubelet = findings.iter().find(|f| text(f, "/check") == "maxPods");
    Ok(kubelet.map(|f| text(f, "/says").to_owned()).unwrap_or_default())
}

/// A node's object.
pub fn get(cluster: &Cluster, node: &str) -> Result<Value> {
    cluster.kubectl()?.get(&format!("nodenetworks/{node}"))
}

/// A number in an object's status.
pub fn number(object: &Value, pointer: &str) -> u64 {
    object.pointer(&format!("/status/{pointer}")).and_then(Value::as_u64).unwrap_or(u64::MAX)
}

/// What a node's numbers say of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Numbers {
    shared: u64,
    exclusive: u64,
    ready: u64,
    cooling: u64,
}

/// What the daemon's own books say: pods by kind, addresses by state.
fn books(shown: &Value) -> Numbers {
    let pods =
        |mode: &str| list(shown, "/pods").iter().filter(|p| text(p, "/mode") == mode).count();
    // A pod needs an address of each family: what one has more than the other on an ENI is for nobody yet.
    let addresses = |state: &str| -> usize {
        let enis = list(shown, "/enis").iter().filter(|e| text(e, "/use") == "shared");
        enis.map(|eni| {
            let of = |v6: bool| {
                let all = list(eni, "/addresses").iter();
                let of_family = all.filter(|a| text(a, "/ip").contains(':') == v6);
                of_family.filter(|a| text(a, "/state") == state).count()
            };
            if of_families(eni) == 2 { of(false).min(of(true)) } else { of(false) + of(true) }
        })
        .sum()
    };
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    Numbers {
        shared: count(pods("veth")),
        exclusive: count(pods("exclusive")),
        ready: count(addresses("free")),
        cooling: count(addresses("cooling")),
    }
}

/// How many families the addresses of an ENI have.
fn of_families(eni: &Value) -> usize {
    let v6 = list(eni, "/addresses").iter().map(|a| text(a, "/ip").contains(':'));
    v6.collect::<std::collections::BTreeSet<_>>().len()
}

fn published(object: &Value) -> Numbers {
    Numbers {
        shared: number(object, "shared/assigned"),
        exclusive: number(object, "exclusive/assigned"),
        ready: number(object, "shared/ready"),
        cooling: number(object, "shared/cooling"),
    }
}

/// Waits until the published numbers are those of the daemon's books, agree with each other, and nobody leaves; answers a
/// line for people.
pub fn agree(cluster: &Cluster, node: &Node<'_>, binaries: &Binaries) -> Result<String> {
    wait::until(&format!("the NodeNetwork of {} agrees", node.name()), SOON, || {
        let shown = daemons::show(node, binaries)?;
        let object = match get(cluster, node.name()) {
            Ok(object) => object,
            Err(error) => return Ok(Look::NotYet(format!("{error:#}"))),
        };
        let (has, should) = (published(&object), books(&shown));
        let n = |pointer: &str| number(&object, pointer);
        let parts = ["ready", "assigned", "cooling", "unusable"].map(|p| n(&format!("shared/{p}")));
        let places =
            ["shared", "exclusive", "foreign", "free"].map(|p| n(&format!("adapters/{p}")));
        let sums = parts.iter().sum::<u64>() == n("shared/held")
            && places.iter().sum::<u64>() == n("adapters/limit");
        let nobody_leaves = n("shared/leaving") == 0 && n("exclusive/leaving") == 0;
        let owned = text(&object, "/metadata/ownerReferences/0/kind") == "Node";
        if has == should && sums && nobody_leaves && owned {
            return Ok(Look::Seen(format!(
                "{}: {} of {} shared addresses with pods, {} ready; {} pod with a whole ENI",
                node.name(),
                has.shared,
                n("shared/capacity"),
                has.ready,
                has.exclusive
            )));
        }
        Ok(Look::NotYet(format!("should be {should:?}, is {object}")))
    })
}

/// After uninstall no object is left.
pub fn none_left(cluster: &Cluster) -> Result<()> {
    let names = cluster.kubectl()?.names("nodenetworks")?;
    ensure!(names.is_empty(), "NodeNetworks are left: {names:?}");
    Ok(())
}

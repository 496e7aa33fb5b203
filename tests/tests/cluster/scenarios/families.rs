//! The families that are the default: IPv4 alone, on a cluster whose nodes have both. Every way to a pod is called from the
//! other node and from both kinds of pods there.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tideway_e2e::cluster::{Node, text};

use crate::{
    bed::Bed,
    calls::{Call, From},
    pods::pod,
};

/// Each kind of pod: its name on the called node, its caller on the other one, whether it has an ENI of its own, its host port.
const KINDS: [(&str, &str, bool, u16); 2] =
    [("v4-shared", "v4-shared-caller", false, 8211), ("v4-own", "v4-own-caller", true, 8212)];

pub(crate) fn with_the_families_that_are_the_default_pods_have_ipv4_alone_and_are_reached_by_every_way(
    bed: &Bed,
) -> Result<()> {
    for node in bed.nodes() {
        bed.stop_daemon(&node)?;
        bed.start_daemon_with(&node, "families: DualStack\n", "")?;
        bed.show(&node)?;
    }
    let outcome = are_reached(bed);
    // Whatever came of it, the next scenario has both families.
    for (name, ..) in KINDS {
        bed.kubectl()?.run(["delete", "service", name, "--ignore-not-found"])?;
    }
    for node in bed.nodes() {
        bed.stop_daemon(&node)?;
        bed.start_daemon(&node, "")?;
        bed.show(&node)?;
    }
    outcome
}

fn are_reached(bed: &Bed) -> Result<()> {
    let [node, other] = bed.nodes();
    let objects = KINDS.iter().flat_map(|(name, caller, own, port)| {
        [served(name, &node, *own, *port), pod(caller, &other, *own), service(name)]
    });
    bed.create(&objects.collect::<Vec<_>>())?;
    for (name, caller, ..) in KINDS {
        for (name, node) in [(name, &node), (caller, &other)] {
            let ips = bed.ready(name, node)?.ips;
            ensure!(matches!(ips[..], [IpAddr::V4(_)]), "{name} has {ips:?}, not one IPv4 address");
        }
    }
    for (name, _, own, host_port) in KINDS {
        let calls = ways(bed, &node, name, host_port)?;
        let [pod, ..] = calls;
        for from in [From::Node(&other), From::Pod(KINDS[0].1), From::Pod(KINDS[1].1)] {
            for reply in bed.answers(from, &calls)? {
                ensure!(reply.host == name, "{from:?} asked {name} and was answered by {reply:?}");
            }
        }
        // Between pods nobody translates, and the node's own way is no other one.
        let [reply] = &bed.answers(From::Pod(KINDS[0].1), &[pod])?[..] else { continue };
        let caller = bed.ready(KINDS[0].1, &other)?.ips;
        ensure!(caller.contains(&reply.client), "{name} (own ENI: {own}) saw {reply:?}");
        bed.answers(From::Node(&node), &[pod])?;
    }
    Ok(())
}

/// The pod, its Service by cluster address and by node port (policy Local), and its host port.
fn ways(bed: &Bed, node: &Node<'_>, name: &str, host_port: u16) -> Result<[Call; 4]> {
    let [ip] = bed.ready(name, node)?.ips[..] else { bail!("{name}: not one address") };
    let service = bed.kubectl()?.get(&format!("services/{name}"))?;
    let port = service.pointer("/spec/ports/0/nodePort").and_then(Value::as_u64);
    let port = u16::try_from(port.context("no node port")?)?;
    let of_node = IpAddr::from(node.instance()?.ipv4);
    Ok([
        Call::tcp(ip, 8080),
        Call::tcp(text(&service, "/spec/clusterIP").parse()?, 80),
        Call::tcp(of_node, port),
        Call::tcp(of_node, host_port),
    ])
}

fn served(name: &str, node: &Node<'_>, exclusive: bool, host_port: u16) -> Value {
    let mut pod = pod(name, node, exclusive);
    pod["metadata"]["labels"] = json!({"app": name});
    pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8080, "hostPort": host_port}]);
    pod
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {
            "type": "NodePort", "externalTrafficPolicy": "Local",
            "ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"],
            "selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}],
        },
    })
}

//! Host ports: every protocol, family and kind of pod, one port of several, one address of several, one pod after another.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tideway_e2e::cluster::Node;

use crate::{
    bed::Bed,
    calls::{Call, From, Reply},
    pods::pod,
};

/// Port of ours for a flow that outlives the pod that it led to.
const FLOW: u16 = 41_000;

pub(crate) fn a_host_port_leads_to_its_pod_and_then_to_its_successor(bed: &Bed) -> Result<()> {
    let [node, other] = bed.nodes();
    let instance = node.instance()?;
    let (v4, v6) = (IpAddr::from(instance.ipv4), IpAddr::from(instance.ipv6));
    let several = json!([
        {"containerPort": 8080, "hostPort": 8201},
        {"containerPort": 8080, "hostPort": 8201, "protocol": "UDP"},
        {"containerPort": 8081, "hostPort": 8202},
    ]);
    let own = json!([
        {"containerPort": 8080, "hostPort": 8203},
        {"containerPort": 8081, "hostPort": 8203, "protocol": "UDP"},
    ]);
    let bound = json!([{"containerPort": 8080, "hostPort": 8204, "hostIP": v4}]);
    bed.create(&[
        with_ports("several", &node, false, &several),
        with_ports("own", &node, true, &own),
        with_ports("bound", &node, false, &bound),
    ])?;
    for name in ["several", "own", "bound"] {
        bed.live(name, &node)?;
    }
    let flow = [v4, v6].map(|to| Call::udp(to, 8201).of_flow(FLOW));
    let remote = From::Node(&other);
    for to in [v4, v6] {
        let calls = [Call::tcp(to, 8201), Call::udp(to, 8201), Call::tcp(to, 8202)];
        all_by(&bed.answers(remote, &calls)?, "several")?;
        let calls = [Call::tcp(to, 8203), Call::udp(to, 8203)];
        all_by(&bed.answers(remote, &calls)?, "own")?;
    }
    all_by(&bed.answers(remote, &flow)?, "several")?;
    // The node itself calls its own address, and a pod of another node the address of this one.
    let calls = [Call::tcp(v4, 8201), Call::udp(v4, 8201), Call::tcp(v6, 8202)];
    all_by(&bed.answers(From::Node(&node), &calls)?, "several")?;
    all_by(&bed.answers(From::Node(&node), &[Call::tcp(v4, 8203)])?, "own")?;
    // A port that is bound to one address of the node is no port of another one.
    let outcomes = bed.call(remote, &[Call::tcp(v4, 8204), Call::tcp(v6, 8204)])?;
    ensure!(outcomes[0].as_ref().is_ok_and(|r| r.host == "bound"), "{outcomes:?}");
    ensure!(outcomes[1].is_err(), "bound to {v4}, and answers at {v6}: {outcomes:?}");

    bed.kubectl()?.run(["delete", "pod", "several", "--wait=true"])?;
    bed.create(&[with_ports("successor", &node, false, &several)])?;
    bed.live("successor", &node)?;
    // The flow of before, too: a datagram has no connection whose end would show.
    all_by(&bed.answers(remote, &flow)?, "successor")?;
    let calls = [Call::tcp(v4, 8201), Call::tcp(v6, 8201), Call::tcp(v4, 8202)];
    all_by(&bed.answers(remote, &calls)?, "successor")
}

fn with_ports(name: &str, node: &Node<'_>, exclusive: bool, ports: &Value) -> Value {
    let mut pod = pod(name, node, exclusive);
    let container = &mut pod["spec"]["containers"][0];
    container["ports"] = ports.clone();
    container["command"][2] = json!("trap exit TERM; tideway-probe serve 8080 8081 & wait");
    pod
}

fn all_by(replies: &[Reply], host: &str) -> Result<()> {
    ensure!(replies.iter().all(|r| r.host == host), "not all by {host}: {replies:?}");
    Ok(())
}

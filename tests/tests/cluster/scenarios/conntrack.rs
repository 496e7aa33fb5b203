//! A UDP client on another node keeps sending to a Service while the address of its backend moves to another pod. The flow is
//! an entry on the client's node, which only the kube-proxy of that node takes away: it has until the address has rested. It
//! does so when the Service has another backend; the flow to a last one it leaves, in Kubernetes 1.34.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tideway_e2e::{
    cluster::{Node, list, text},
    wait::{self, Look},
};

use crate::{
    bed::{Bed, PATIENCE},
    calls::{Call, From},
    pods::{is_ready, pod},
    say,
};

const SERVICE: &str = "flow";
const CLIENT: &str = "client";
/// The client's port: all its datagrams belong to one flow.
const FLOW: u16 = 41_001;
/// Questions after the next owner is ready; the probe asks each several times.
const AFTERWARDS: usize = 10;

pub(crate) fn a_flow_from_another_node_does_not_reach_the_next_owner_of_its_address(
    bed: &Bed,
) -> Result<()> {
    on_a_full_node(bed, |bed, [node, other], service| {
        let another = || {
            bed.create(&[backend("another", other)])?;
            bed.live("another", other).map(drop)
        };
        let strange = address_moves(bed, node, service, ["a-backend", "a-next"], another)?;
        ensure!(strange == 0, "{strange} answers by the next owner of a backend's address");
        bed.kubectl()?.run(["delete", "pod", "a-next", "another", "--wait=true"])?;

        // The judge sees what it looks for: without kube-proxy nobody ends the flow.
        let no_proxy = || bed.kill(other, "kube-proxy");
        let strange = address_moves(bed, node, service, ["c-backend", "c-next"], no_proxy);
        other.start_proxy()?;
        let strange = strange?;
        say(&format!("  {strange} reached it without kube-proxy"));
        ensure!(
            strange > 0,
            "no answer by the next owner though nobody ended the flow: what was judged?"
        );
        Ok(())
    })
}

/// No promise of ours: it tells what kube-proxy does.
pub(crate) fn the_flow_to_a_last_backend_is_for_kube_proxy_to_end(bed: &Bed) -> Result<()> {
    on_a_full_node(bed, |bed, [node, _other], service| {
        let nothing = || Ok(());
        let strange = address_moves(bed, node, service, ["b-backend", "b-next"], nothing)?;
        say(&format!("  {strange} questions reached the next owner of a last backend's address"));
        Ok(())
    })
}

/// With a client on the second node, a Service, and one address left on the first.
fn on_a_full_node(
    bed: &Bed,
    judge: impl FnOnce(&Bed, [&Node<'_>; 2], IpAddr) -> Result<()>,
) -> Result<()> {
    let [node, other] = bed.nodes();
    // The pool cannot grow: the next pod waits for the very address that becomes free.
    bed.lab.add_fault(r#"{"kind": "full-subnet"}"#)?;
    let outcome = service(bed, &node, &other).and_then(|ip| judge(bed, [&node, &other], ip));
    // Whatever came of it, the next scenario has a pool that grows and a proxy.
    bed.lab.clear_faults()?;
    bed.kubectl()?.run(["delete", "service", SERVICE, "--ignore-not-found"])?;
    bed.stop_daemon(&node)?;
    bed.start_daemon(&node, "")?;
    bed.show(&node)?;
    outcome
}

/// The address of the Service, whose client runs.
fn service(bed: &Bed, node: &Node<'_>, other: &Node<'_>) -> Result<IpAddr> {
    let ports = json!([{"port": 8080, "protocol": "UDP"}]);
    bed.create(&[
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE},
            "spec": {"selector": {"app": SERVICE}, "ports": ports},
        }),
        pod(CLIENT, other, false),
    ])?;
    bed.live(CLIENT, other)?;
    let service = bed.kubectl()?.get(&format!("services/{SERVICE}"))?;
    let service: IpAddr =
        text(&service, "/spec/clusterIP").parse().context("a Service's address")?;

    use_up(bed, node)?;
    Ok(service)
}

/// The address of a backend becomes that of a pod which is none; how often the client was answered by that. `meanwhile` is
/// done when the client has its flow.
fn address_moves(
    bed: &Bed,
    node: &Node<'_>,
    service: IpAddr,
    [first, next]: [&str; 2],
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<usize> {
    let question = [Call::udp(service, 8080).of_flow(FLOW)];
    let ask = || -> Result<Result<String, String>> {
        let outcome = bed.call(From::Pod(CLIENT), &question)?.pop().context("no outcome")?;
        Ok(outcome.map(|reply| reply.host))
    };
    bed.create(&[backend(first, node)])?;
    let ips = bed.live(first, node)?.ips;
    wait::until("the client is answered by the backend", PATIENCE, || {
        let said = ask()?;
        let heard = said.as_ref().is_ok_and(|host| host == first);
        Ok(if heard { Look::Seen(()) } else { Look::NotYet(format!("{said:?}")) })
    })?;
    meanwhile()?;
    bed.kubectl()?.run(["delete", "pod", first, "--wait=false"])?;
    bed.create(&[pod(next, node, false)])?;
    let mut strange = 0;
    let mut hears = || -> Result<()> {
        strange += usize::from(ask()?.is_ok_and(|host| host == next));
        Ok(())
    };
    wait::until(&format!("{next} is ready"), PATIENCE, || {
        hears()?;
        let pod = bed.kubectl()?.get(&format!("pods/{next}"))?;
        let phase = text(&pod, "/status/phase").to_owned();
        Ok(if is_ready(&pod) { Look::Seen(()) } else { Look::NotYet(phase) })
    })?;
    let got = bed.live(next, node)?.ips;
    ensure!(got.first() == ips.first(), "the next pod has {got:?} and not {ips:?}");
    for _question in 0..AFTERWARDS {
        hears()?;
    }
    Ok(strange)
}

fn backend(name: &str, node: &Node<'_>) -> Value {
    let mut pod = pod(name, node, false);
    pod["metadata"]["labels"] = json!({"app": SERVICE});
    pod
}

/// Pods take what the pool has, until one address is left that can be handed out and none that will be by itself.
fn use_up(bed: &Bed, node: &Node<'_>) -> Result<()> {
    let mut others = 0;
    wait::until("all addresses but one are in use", PATIENCE, || {
        let shown = bed.show(node)?;
        let states = list(&shown, "/enis").iter().flat_map(|eni| list(eni, "/addresses"));
        let states = states.filter(|a| !text(a, "/ip").contains(':')).map(|a| text(a, "/state"));
        let idle: Vec<&str> =
            states.filter(|state| !matches!(*state, "assigned" | "reserved")).collect();
        if idle == ["free"] {
            return Ok(Look::Seen(()));
        }
        if idle.iter().any(|state| *state != "free") {
            return Ok(Look::NotYet(format!("{idle:?}")));
        }
        ensure!(!idle.is_empty(), "{} has no free address: {shown}", node.name());
        let more: Vec<String> = (1..idle.len()).map(|n| format!("other-{}", others + n)).collect();
        others += more.len();
        bed.create(&more.iter().map(|name| pod(name, node, false)).collect::<Vec<_>>())?;
        for name in &more {
            bed.live(name, node)?;
        }
        Ok(Look::NotYet(format!("{others} pods more")))
    })
}

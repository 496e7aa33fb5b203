//! More pods than addresses, with real kubelets: the extender lets so many in as there are addresses, and no pod hangs on a
//! node for want of one.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tideway_e2e::{
    cluster::{list, text},
    demo::{
        extender,
        node_networks::{get, number},
    },
    wait::{self, Look},
};

use crate::{
    bed::{Bed, SOON},
    pods::{is_ready, spec},
    say,
};

/// Pods beyond the addresses.
const MORE: usize = 6;
/// So many of those that run go again.
const GO: usize = 4;
/// Dozens of sandboxes on a machine with few cores.
const PATIENCE: Duration = Duration::from_mins(3);

pub(crate) fn pods_beyond_the_addresses_wait_in_the_scheduler_and_not_on_a_node(
    bed: &Bed,
) -> Result<()> {
    extender::start(&bed.cluster)?;
    // A kubelet here takes 110 pods: nobody but the extender knows that ten addresses are all.
    let outcome = bed
        .cluster
        .wait_extender()
        .and_then(|()| run_with(bed, "shared: {minEnis: 1, maxEnis: 1}\n"))
        .and_then(|()| crowded(bed));
    // Whatever came of it, the next scenario has everything as it was.
    bed.cluster.roster().stop("extender", SOON)?;
    run_with(bed, "")?;
    outcome
}

/// Starts both daemons anew with a further section of their configuration.
fn run_with(bed: &Bed, section: &str) -> Result<()> {
    for node in bed.nodes() {
        bed.stop_daemon(&node)?;
        bed.start_daemon(&node, section)?;
        bed.show(&node)?;
    }
    Ok(())
}

fn crowded(bed: &Bed) -> Result<()> {
    let kubectl = bed.kubectl()?;
    let addresses = wait::until("the nodes tell of one shared ENI each", SOON, || {
        let mut addresses = 0;
        for node in bed.nodes() {
            let object = get(&bed.cluster, node.name())?;
            if number(&object, "adapters/freeForShared") > 0 {
                return Ok(Look::NotYet(object.to_string()));
            }
            addresses += usize::try_from(number(&object, "shared/capacity"))?;
        }
        Ok(Look::Seen(addresses))
    })?;
    let pod = |number: usize| {
        let name = format!("crowd-{number}");
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec(false)})
    };
    bed.create(&(0..addresses + MORE).map(pod).collect::<Vec<_>>())?;
    let run = shared_out(bed, addresses, MORE)?;
    let gone = run.iter().take(GO).map(|pod| text(pod, "/metadata/name"));
    kubectl.run(["delete", "pods", "--wait=false"].into_iter().chain(gone))?;
    shared_out(bed, addresses, MORE - GO)?;

    let failed = kubectl.get("events?fieldSelector=reason=FailedCreatePodSandBox")?;
    let of_ours = |event: &&Value| text(event, "/involvedObject/name").starts_with("crowd-");
    let failed: Vec<&str> = list(&failed, "/items")
        .iter()
        .filter(of_ours)
        .map(|event| text(event, "/message"))
        .collect();
    ensure!(failed.is_empty(), "pods failed on their nodes: {failed:?}");
    let asked = extender::was_asked(&bed.cluster, u64::try_from(addresses + MORE)?)?;
    say(&format!("  {addresses} addresses for {} pods; {asked}", addresses + MORE));
    kubectl.run(["delete", "pods", "--all"])?;
    extender::is_at_rest(&bed.cluster)?;
    // While all addresses of a node rest, the next pod is worth another shared ENI, and then its slot is no device.
    wait::until("no address rests any more", SOON, || {
        for node in bed.nodes() {
            let object = get(&bed.cluster, node.name())?;
            if number(&object, "shared/cooling") > 0 {
                return Ok(Look::NotYet(object.to_string()));
            }
        }
        Ok(Look::Seen(()))
    })
}

/// Waits until so many pods run, each with addresses of its own, so many others wait and say why, and there is no third kind;
/// answers those that run.
fn shared_out(bed: &Bed, run: usize, rest: usize) -> Result<Vec<Value>> {
    let kubectl = bed.kubectl()?;
    let running = wait::until("the addresses are shared out", PATIENCE, || {
        let pods = kubectl.get("pods")?;
        let pods = list(&pods, "/items");
        let running: Vec<Value> = pods.iter().filter(|p| is_ready(p)).cloned().collect();
        let waiting = pods.iter().filter(|p| says_why(p)).count();
        let done = (pods.len(), running.len(), waiting) == (run + rest, run, rest);
        Ok(if done {
            Look::Seen(running)
        } else {
            Look::NotYet(format!("of {} pods {} run, {waiting} wait", pods.len(), running.len()))
        })
    })?;
    Bed::all_differ(&running)?;
    Ok(running)
}

/// The pod is on no node, and the extender's text says why.
fn says_why(pod: &Value) -> bool {
    let told = list(pod, "/status/conditions").iter().any(|c| {
        text(c, "/type") == "PodScheduled"
            && text(c, "/message").contains("tideway: no free address on the nodes asked")
    });
    told && text(pod, "/spec/nodeName").is_empty()
}
